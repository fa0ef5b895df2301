"""How far two sets of projections lie apart: AUROC, Cohen's d, overlap of histograms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

Array = NDArray[np.float64]
BINS = 50
"""Of the histograms whose overlap is taken (Han, Chalmers & Izmailov 2026, arXiv 2605.30232, section D.3)."""


@dataclass(frozen=True, eq=False)
class Separation:
    """Own projections against others, each measure [blocks]."""

    auroc: Array
    """Probability that one of its own lies above one of the others; half of it if they are the same."""
    cohen_d: Array
    overlap: Array
    """Of the two histograms: 1 if they are the same, 0 if they have no bin in common."""


def separation(projections: Array, own: NDArray[np.bool_]) -> Separation:
    """How a direction tells one class from the rest, block by block.

    Args:
        projections: of each item on the direction of each block [n, blocks].
        own: which items are of the class [n].

    Raises:
        ValueError: fewer than two items on either side.
    """
    first, other = np.asarray(projections[own], np.float64), np.asarray(projections[~own], np.float64)
    if min(len(first), len(other)) < 2:
        raise ValueError(f"{len(first)} items can't be told from {len(other)}: there must be two of each at least")
    blocks = range(projections.shape[1])
    return Separation(
        auroc=auroc(first, other),
        cohen_d=np.array([cohen_d(first[:, block], other[:, block]) for block in blocks]),
        overlap=np.array([overlap(first[:, block], other[:, block]) for block in blocks]),
    )


def auroc(first: Array, other: Array) -> Array:
    """Area under the ROC curve of each column, [n, C] against [m, C] to [C]: Mann and Whitney's U over n m."""
    n, m = len(first), len(other)
    ranks = rankdata(np.concatenate([first, other]), axis=0)[:n].sum(0)
    area: Array = (ranks - n * (n + 1) / 2) / (n * m)
    return area


def cohen_d(first: Array, other: Array) -> float:
    """The difference of two means over the pooled standard deviation, [n] against [m].

    0 where nothing varies and the means are the same, infinite where they aren't.
    """
    n, m = len(first), len(other)
    difference = float(first.mean() - other.mean())
    pooled = ((n - 1) * first.var(ddof=1) + (m - 1) * other.var(ddof=1)) / (n + m - 2)
    if pooled > 0:
        return difference / float(np.sqrt(pooled))
    return float(np.copysign(np.inf, difference)) if difference else 0.0


def cohen_d_interval(d: float, n: int, m: int, level: float = 0.95) -> tuple[float, float]:
    """Large-sample interval of Cohen's d of ``n`` items against ``m`` (Hedges & Olkin 1985, chapter 5)."""
    spread = float(norm.isf((1 - level) / 2)) * float(np.sqrt((n + m) / (n * m) + d**2 / (2 * (n + m))))
    return d - spread, d + spread


def overlap(first: Array, other: Array) -> float:
    """What the normalised histograms of two samples have in common, over bins from the least to the greatest of all."""
    edges = np.histogram_bin_edges(np.concatenate([first, other]), BINS)
    one, two = (np.histogram(sample, edges)[0] / len(sample) for sample in (first, other))
    return float(np.minimum(one, two).sum())
