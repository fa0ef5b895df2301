"""Which signals latents are correlated with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jobs.sections.base import Distinct, Section


def _first(signals: tuple[str, ...]) -> tuple[str, ...]:
    return ("td_error",) if "td_error" in signals else signals[:1]


class CorrelateSection(Section):
    """Which signals are correlated with every latent, and the statistics beside r."""

    signals: Distinct[str] = (
        "td_error",
        "td_error_full",
        "myopic_error",
        "q_left",
        "q_right",
        "q_chosen",
        "q_max",
        "q_difference",
        "myopic_left",
        "myopic_right",
        "best_return",
        "step",
    )
    """Names of recorded learning signals."""
    covariates: Distinct[str] = ("step", "is_second_pick", "last_reward", "max_so_far")
    """Signals held constant in the partial correlation."""
    permutations: int = Field(500, ge=19)
    """Permutations of whole rollouts that make the null distribution."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """Family-wise error rate and one minus the confidence level."""
    top: int = Field(256, ge=1)
    """So many of the strongest correlations of a block and signal go into SQL; all of them into a parquet blob."""
    cutoff: float = Field(0.5, ge=0, le=1)
    """And every other with at least this |r|."""
    traced: Distinct[str] = Field(default_factory=lambda given: _first(given.get("signals", ())))
    """Signals whose best latent's activation at every decision is kept in SQL, for each autoencoder; by default the TD
    error or, where there is none, the first of the signals."""
    controls: Distinct[Literal["raw", "pca", "untrained", "shuffled"]] = (
        "raw",
        "pca",
        "untrained",
        "shuffled",
    )
    """The same statistics for residual dimensions, principal components, an untrained model, shuffled signals."""
