"""What decides a training of a policy that chooses heads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SearchConfig:
    """The defaults are those of Khadka (2026, arXiv 2605.26343, its published code), which is the source below.

    Raises:
        ValueError: a setting that makes no sense.
    """

    best_of: int = 1
    """Distinct heads asked for in each step of training, the best of which is tried. Source: 1 and 5."""
    transitions: int = 200_000
    """Heads tried in all episodes together; what doesn't fill an update is left out. Source: the same."""
    episodes: int = 8
    """Side by side; an update follows when they end. Source: the same, whose episodes have 50 steps.

    Studies of models with fewer heads, and so shorter episodes, put more of them side by side, so that an update has
    as many transitions.
    """
    epochs: int = 4
    """Times that an update goes through its transitions. Source: the same."""
    minibatches: int = 8
    """Gradient steps of each epoch, or fewer. Source: the same, which makes batches of 50."""
    learning_rate: float = 2.5e-4
    """Adam's, at first; it falls linearly. Source: the same."""
    final_share: float = 0.2
    """Share of it below which it doesn't fall. Source: the same."""
    adam_epsilon: float = 1e-5
    """Adam's. Source: the same."""
    gamma: float = 0.99
    """Discount. Source: the same."""
    gae_lambda: float = 0.95
    """Of the advantages' exponential average. Source: the same."""
    clip: float = 0.2
    """How far a probability ratio may go to count. Source: the same."""
    entropy: float = 0.1
    """Weight of the entropy. Source: the same."""
    value: float = 0.5
    """Weight of half the squared error of the value. Source: the same."""
    max_gradient: float = 0.5
    """Norm to which gradients are cut. Source: the same."""
    seed: int = 1
    """Seeds weights and draws; the i-th of the episodes side by side draws from 100·seed + i, i from 1. Source: 1."""

    def __post_init__(self) -> None:
        for name in ("best_of", "transitions", "episodes", "epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        for name in ("gamma", "gae_lambda", "clip", "final_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1")
        for name in ("learning_rate", "entropy", "value"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must not be negative")
        for name in ("adam_epsilon", "max_gradient"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be above 0")
        if not 0 <= self.seed < 2**24:
            raise ValueError("seed must be from 0 to 16777215")
