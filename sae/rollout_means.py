"""A number of each rollout: its mean with an interval, and what a null makes of the mean in a family of blocks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Mean(NamedTuple):
    """A mean over rollouts with its confidence limits; NaN where it isn't defined."""

    value: float
    low: float
    high: float
    n: int
    """Rollouts in which the number is defined."""


class Null(NamedTuple):
    """What the null makes of the mean of each of B blocks."""

    mean: Floats
    """[B]"""
    threshold: Floats
    """What the mean of some block of the family exceeds with probability alpha, [B]."""


def mean_interval(values: Floats, *, confidence: float = 0.95) -> Mean:
    """Mean of one number a rollout [R], with Student's interval; NaN is left out, one rollout has no interval."""
    known = values[np.isfinite(values)]
    n = len(known)
    if n == 0:
        return Mean(np.nan, np.nan, np.nan, 0)
    mean = float(known.mean())
    if n == 1:
        return Mean(mean, np.nan, np.nan, 1)
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, n - 1) * known.std(ddof=1) / np.sqrt(n))
    return Mean(mean, mean - half, mean + half, n)


def permuted_means(pairs: Floats, permutations: NDArray[np.int64]) -> Floats:
    """Means over rollouts when each is paired with another's signals.

    Args:
        pairs: [R, R, …]; pairs[i, j] is a number of rollout i's features with rollout j's signals.
        permutations: [P, R], as ``sae.permutation_null.rollout_permutations`` draws them.

    Returns:
        [P + 1, …], the mean of the true pairs first; NaN is left out of each mean.
    """
    rollouts = np.arange(len(pairs))
    taken = np.concatenate([rollouts[None], permutations])
    known = np.isfinite(pairs)
    filled = np.where(known, pairs, 0.0)
    total, count = (sum(part[i, taken[:, i]] for i in rollouts) for part in (filled, known.astype(np.float64)))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def family_null(means: Floats, *, alpha: float = 0.05) -> Null:
    """Null mean and family-wise threshold of B blocks from means under P permutations and the true one.

    Blocks are made comparable by the null's mean and spread in each; the largest of the standardised means over
    the blocks has the threshold, one-sided, and each block's own follows from it (Westfall and Young 1993).

    Args:
        means: [P + 1, B], the true ones first, all blocks under the same permutations.
        alpha: probability that under the null some block exceeds its threshold.

    Returns:
        NaN where a block has no mean. With fewer than 1 / alpha permutations nothing exceeds its threshold.
    """
    mean, spread = means.mean(0), means.std(0)
    known = np.isfinite(mean) & (spread > 0)
    if not known.any():
        return Null(mean, mean.copy())
    largest = np.sort(((means[:, known] - mean[known]) / spread[known]).max(1))
    allowed = int(np.floor(alpha * len(largest) * (1 + 1e-12)))
    return Null(mean, mean + largest[len(largest) - 1 - allowed] * spread)
