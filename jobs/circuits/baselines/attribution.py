"""Heads in the order of a first-order estimate of their scores, made anew for each episode."""

from __future__ import annotations

from jobs.circuits.baselines.fixed_order import FixedOrder
from jobs.circuits.baselines.known import Known

NAME = "attribution"
OVERHEAD = 4
"""A backward pass over the prompts and one over the control text, each of which counts as two forward passes. The
forward passes before them are the search's own baselines."""


def make(known: Known) -> FixedOrder | None:
    return None if known.attribution is None else FixedOrder(known.attribution, OVERHEAD)
