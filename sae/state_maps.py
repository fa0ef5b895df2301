"""How alike a rollout's states are represented: their last representations, distances, and a plane that shows them."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import orthogonal_procrustes
from sklearn.exceptions import ConvergenceWarning
from sklearn.manifold import MDS

Floats = NDArray[np.float64]

STARTS, ITERATIONS = 8, 1000
"""Of metric MDS, whose stress has local minima: the best of so many random starts."""


def last_encounters(states: NDArray[np.int64], n_states: int) -> NDArray[np.int64]:
    """The decision at which each state was met last: states [T] to [n_states]; -1 for those never met."""
    last = np.full(n_states, -1)
    np.maximum.at(last, states, np.arange(len(states)))
    return last


def at_last_encounter(x: ArrayLike, states: NDArray[np.int64], n_states: int) -> Floats:
    """Each state's representation when it was met last, x [T, d] to [n_states, d]; NaN for states never met."""
    last = last_encounters(states, n_states)
    rows = np.asarray(x, dtype=np.float64)[last]
    rows[last < 0] = np.nan
    return rows


def state_means(x: ArrayLike, states: NDArray[np.int64], n_states: int) -> Floats:
    """Each state's mean representation over all visits, x [T, d] to [n_states, d]; NaN for states never met."""
    visits = (states[None, :] == np.arange(n_states)[:, None]).astype(np.float64)
    with np.errstate(invalid="ignore"):
        means: Floats = visits @ np.asarray(x, dtype=np.float64) / visits.sum(1, keepdims=True)
    return means


def cosine(points: Floats) -> Floats:
    """Cosine of each two rows, [n, d] to [n, n]; NaN for a row that is NaN or 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    similarity: Floats = np.clip(unit @ unit.T, -1, 1)
    return similarity


def mds(points: Floats, *, seed: int) -> Floats:
    """Metric multidimensional scaling of the rows' cosine distances (Demircan et al. 2025, Fig 5A): [n, d] to [n, 2].

    Rows without a direction have no place (NaN); with fewer than three others nothing has.
    """
    similarity = cosine(points)
    placed = np.flatnonzero(np.isfinite(similarity.diagonal()))
    plane = np.full((len(points), 2), np.nan)
    if len(placed) < 3:
        return plane
    distance = 1 - similarity[np.ix_(placed, placed)]
    np.fill_diagonal(distance, 0)
    scaling = MDS(
        2, metric="precomputed", init="random", n_init=STARTS, max_iter=ITERATIONS, random_state=seed,
        normalized_stress=False,
    )  # fmt: skip
    with warnings.catch_warnings():  # a plane that still improves in the seventh digit is as good a picture
        warnings.simplefilter("ignore", ConvergenceWarning)
        plane[placed] = scaling.fit_transform((distance + distance.T) / 2)
    return plane


def aligned(plane: Floats, to: Floats) -> Floats:
    """The plane [n, 2] rotated, mirrored and moved onto another as closely as can be; distances stay as they are.

    MDS says nothing about where up is; two maps are compared more easily where it is the same.
    """
    both = np.isfinite(plane).all(1) & np.isfinite(to).all(1)
    if not both.any():
        return plane
    centre, target = plane[both].mean(0), to[both].mean(0)
    rotation, _ = orthogonal_procrustes(plane[both] - centre, to[both] - target)
    turned: Floats = (plane - centre) @ rotation + target
    return turned
