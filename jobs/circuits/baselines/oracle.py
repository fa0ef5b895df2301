"""The best head first: no search can do better. Its forward passes are those of one who knows, not of finding out."""

from __future__ import annotations

from jobs.circuits.baselines.fixed_order import FixedOrder
from jobs.circuits.baselines.known import Known

NAME = "oracle"


def make(known: Known) -> FixedOrder:
    return FixedOrder(known.oracle)
