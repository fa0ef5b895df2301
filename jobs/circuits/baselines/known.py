"""What baselines may know before they search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Known:
    """Of a model with L blocks of N heads, H together, and of the n episodes to be searched.

    Raises:
        ValueError: an array of another shape, a training task without episodes, or a number that isn't finite.
    """

    n_blocks: int
    """L."""
    n_heads: int
    """N."""
    training: Mapping[str, NDArray[np.float64]]
    """Scores of every head in the training episodes of each training task [episodes, H]."""
    oracle: NDArray[np.float64]
    """Scores of every head in each episode [n, H]: nobody but the oracle may look at them."""
    task_code: str | None = None
    """The training task that the episodes are said to be of, as a policy is told in its observation; None for none."""
    attribution: NDArray[np.float64] | None = None
    """First-order estimate of every head's score in each episode [n, H]."""
    mean_ablation: NDArray[np.float64] | None = None
    """Scores of every head in each episode when it is replaced by its mean [n, H]."""

    def __post_init__(self) -> None:
        H = self.n_blocks * self.n_heads
        if not self.training or any(len(scores) == 0 for scores in self.training.values()):
            raise ValueError("baselines need at least one episode of each training task")
        if self.task_code is not None and self.task_code not in self.training:
            raise ValueError(f"the task code must be one of the training tasks, not {self.task_code}")
        for scores in (*self.training.values(), self.oracle):
            if scores.shape[1:] != (H,) or not np.isfinite(scores).all():
                raise ValueError(f"scores must be finite and have {H} columns, one a head")
        for estimates in (self.attribution, self.mean_ablation):
            if estimates is not None and estimates.shape != self.oracle.shape:
                raise ValueError(f"estimates must be of shape {self.oracle.shape}, as the episodes' scores are")

    @property
    def training_scores(self) -> list[NDArray[np.float64]]:
        """Those of the task that the code names, or of all training tasks; each counts the same."""
        return list(self.training.values()) if self.task_code is None else [self.training[self.task_code]]
