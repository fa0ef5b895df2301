"""Whether states that are near each other in a graph are represented alike.

Where states have other names in each rollout, no similarity of names can give this: it must come from the walk. So it
is a control for measures that a representation of the current name alone would satisfy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]


def permuted_similarity(similarity: Floats, nearness: Floats, permutations: NDArray[np.integer[Any]]) -> Floats:
    """Spearman's correlation of two tables of pairs of states, and the same with the states of one permuted.

    Args:
        similarity: [S, S], as ``sae.state_maps.cosine`` gives it; states that are NaN are left out.
        nearness: [S, S], such as a successor representation; pairs have its mean of both directions.
        permutations: of states [P, S].

    Returns:
        [P + 1], the true one first; NaN with fewer than three states, or where all pairs of a table are equal.
    """
    known = np.flatnonzero(np.isfinite(similarity.diagonal()))
    if len(known) < 3:
        return np.full(len(permutations) + 1, np.nan)
    above = np.triu_indices(len(known), 1)
    of_pairs = [
        _standardised_ranks(table[np.ix_(known, known)][above]) for table in (similarity, nearness + nearness.T)
    ]
    table = np.zeros((len(known), len(known)))
    table[above] = of_pairs[0]
    permuted = (table + table.T)[_pairs(permutations, known)]
    r: Floats = permuted @ of_pairs[1]
    return r


def permuted_contrast(similarity: Floats, groups: NDArray[np.int64], permutations: NDArray[np.integer[Any]]) -> Floats:
    """Mean similarity of states of one group less that of states of two, and the same with the states permuted.

    Args:
        similarity: [S, S]; states that are NaN are left out.
        groups: the group of each state [S].
        permutations: of states [P, S].

    Returns:
        [P + 1], the true one first; NaN where pairs of either kind are missing.
    """
    known = np.flatnonzero(np.isfinite(similarity.diagonal()))
    above = np.triu_indices(len(known), 1)
    same = groups[known][above[0]] == groups[known][above[1]]
    if same.all() or not same.any():
        return np.full(len(permutations) + 1, np.nan)
    permuted = similarity[np.ix_(known, known)][_pairs(permutations, known)]
    difference: Floats = permuted[:, same].mean(1) - permuted[:, ~same].mean(1)
    return difference


def _pairs(
    permutations: NDArray[np.integer[Any]], known: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of all pairs of the known states, as they are and under each permutation, [P + 1, pairs]."""
    order = np.vstack([np.arange(len(known)), np.argsort(permutations[:, known], axis=1)])
    first, second = np.triu_indices(len(known), 1)
    return order[:, first], order[:, second]


def _standardised_ranks(values: Floats) -> Floats:
    """Ranks with mean 0 and length 1; NaN where all are equal."""
    ranks = rankdata(values)
    ranks -= ranks.mean()
    with np.errstate(invalid="ignore"):
        standardised: Floats = ranks / np.linalg.norm(ranks)
    return standardised
