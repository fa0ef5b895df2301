"""Heads in the order of a first-order estimate of their scores, made anew for each episode."""

from __future__ import annotations

from jobs.circuits.baselines.fixed_order import FixedOrder
from jobs.circuits.baselines.known import Known

NAME = "attribution"
OVERHEAD = 6
"""A forward and a backward pass over the prompts, the same over the control text. A backward pass counts as two forward
passes. The forward passes are counted beside the search's own baselines, though one could serve as both."""


def make(known: Known) -> FixedOrder | None:
    return None if known.attribution is None else FixedOrder(known.attribution, OVERHEAD)
