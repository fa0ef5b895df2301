"""What a policy that searches for heads must be compared with: one module each, with ``NAME`` and ``make``."""

from __future__ import annotations

from collections.abc import Callable

from jobs.circuits.baselines import (
    at_random,
    attribution,
    layer_prior,
    mean_ablation,
    oracle,
    training_mean,
    ucb,
)
from jobs.circuits.baselines.known import Known
from jobs.circuits.searchers import Searcher

BASELINES: dict[str, Callable[[Known], Searcher | None]] = {
    module.NAME: module.make
    for module in (at_random, layer_prior, ucb, training_mean, attribution, mean_ablation, oracle)
}
"""By name; None where what the baseline needs isn't known."""


def baselines(known: Known) -> dict[str, Searcher]:
    """All that can be made, by name."""
    made = {name: make(known) for name, make in BASELINES.items()}
    return {name: searcher for name, searcher in made.items() if searcher is not None}
