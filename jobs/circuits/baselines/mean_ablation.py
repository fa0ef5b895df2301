"""Heads in the order of their scores when they are replaced by their mean: a whole sweep comes before the search."""

from __future__ import annotations

from jobs.circuits.baselines.fixed_order import FixedOrder
from jobs.circuits.baselines.known import Known
from jobs.circuits.searchers import PASSES_A_HEAD

NAME = "mean_ablation"
MEANS = 2
"""Forward passes for the means: over the corrupted prompts and over the control text."""


def make(known: Known) -> FixedOrder | None:
    """The sweep compares with the same baselines as the search, so these are counted once, with the search."""
    if known.mean_ablation is None:
        return None
    return FixedOrder(known.mean_ablation, PASSES_A_HEAD * known.n_blocks * known.n_heads + MEANS)
