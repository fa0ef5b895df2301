"""Concept vectors beside latents that follow a learning signal: do they lie where an autoencoder's latents of it lie?

Rows of the decoder are compared as directions: each has norm 1 here. The set that is compared are the latents that
follow the signal best. The null says that any live latents of the same firing rates could as well be the ones: it draws
equally large sets within strata of like rates, the signal's own latents among them, so that its p-values are those of a
permutation test. Each latent, wherever it is drawn, counts with the sign of its own correlation, so that a set's
direction is one along which the signal grows. What the null leaves is therefore not that a vector lies among live
latents, nor that the signal is spread over them all, but that it lies closer to those that follow the signal best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

OTHERS = 2
"""Live latents that are needed beside each one of a set, so that there are others to draw."""
STRATUM = 20
"""Live latents in a stratum, or some more: those in it fire about as often as each other."""
AT_ONCE = 64
"""Sets whose sums or spans are computed together."""


@dataclass(frozen=True)
class Beside:
    """A vector beside the latents of a signal, and beside sets that were drawn."""

    cosine: float
    """Of the vector and the signed sum of the latents' directions."""
    cosine_low: float
    cosine_high: float
    """Within which 95 % of the drawn sets lie."""
    cosine_p: float
    """Two-sided."""
    share: float
    """Of the vector's squared norm that lies in the span of the latents' directions."""
    share_high: float
    """95 % of the drawn sets have less."""
    share_p: float
    """One-sided: how many drawn sets have at least as much."""


def unit_rows(rows: Array) -> Array:
    """Rows [n, d] with norm 1; those of zero stay."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    units: Array = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    return units


def strongest(correlation: Array, n: int) -> Indices:
    """The ``n`` latents of the largest \\|correlation\\| [m], or as many as leave ``OTHERS`` times as many behind.

    Args:
        correlation: of live latents, none of them NaN; of equal ones the first come first.
        n: how many are wanted.
    """
    n = min(n, len(correlation) // (1 + OTHERS))
    return np.argsort(-np.abs(correlation), kind="stable")[:n]


def matched_sets(chosen: Indices, frequency: Array, n_sets: int, rng: np.random.Generator) -> Indices:
    """Sets with as many latents of each stratum of firing rates as the chosen ones have.

    Args:
        chosen: K of m live latents.
        frequency: share of the rows at which each live latent fires [m].
        n_sets: how many.
        rng: draws them; none is twice in a set.

    Returns:
        [n_sets, K].
    """
    order = np.argsort(frequency, kind="stable")
    parts = []
    for stratum in np.array_split(order, max(1, len(order) // STRATUM)):
        if wanted := int(np.isin(stratum, chosen).sum()):
            shuffled = rng.permuted(np.tile(stratum, (n_sets, 1)), axis=1)
            parts.append(shuffled[:, :wanted])
    return np.concatenate(parts, axis=1)


def cosines(vectors: Array, directions: Array, signs: Array, sets: Indices) -> Array:
    """Of vectors [C, d] and each set's signed sum of directions [m, d], with signs [m] and sets [S, K]: [S, C]."""
    units, parts = unit_rows(vectors), []
    for few in np.split(sets, range(AT_ONCE, len(sets), AT_ONCE)):
        sums = np.einsum("sk,skd->sd", signs[few], directions[few])
        parts.append(unit_rows(sums) @ units.T)
    return np.concatenate(parts)


def shares(vectors: Array, directions: Array, sets: Indices) -> Array:
    """Share of each vector's squared norm in the span of each set of directions: [S, C], arguments as of `cosines`."""
    units, parts = unit_rows(vectors), []
    for few in np.split(sets, range(AT_ONCE, len(sets), AT_ONCE)):
        _, size, basis = np.linalg.svd(directions[few], full_matrices=False)
        real = size > size.max(axis=1, keepdims=True) * max(directions[few].shape[1:]) * np.finfo(np.float64).eps
        along = np.einsum("skd,cd->skc", basis, units) ** 2
        parts.append((along * real[:, :, None]).sum(axis=1))
    return np.concatenate(parts)


def beside(vectors: Array, directions: Array, correlation: Array, chosen: Indices, sets: Indices) -> list[Beside]:
    """Each vector beside the chosen latents and beside the sets.

    Args:
        vectors: none of them zero [C, d].
        directions: decoder rows of the live latents, of norm 1 [m, d].
        correlation: with the signal [m]; its sign is taken.
        chosen: latents that follow the signal best [K].
        sets: those that were drawn [S, K].
    """
    signs = np.sign(correlation)
    cosine, share = cosines(vectors, directions, signs, chosen[None])[0], shares(vectors, directions, chosen[None])[0]
    drawn, spanned = cosines(vectors, directions, signs, sets), shares(vectors, directions, sets)
    n = len(sets)
    at_least, at_most = (drawn >= cosine).sum(axis=0), (drawn <= cosine).sum(axis=0)
    return [
        Beside(
            cosine=float(cosine[c]),
            cosine_low=float(np.quantile(drawn[:, c], 0.025)),
            cosine_high=float(np.quantile(drawn[:, c], 0.975)),
            cosine_p=min(1.0, 2 * (1 + int(min(at_least[c], at_most[c]))) / (n + 1)),
            share=float(share[c]),
            share_high=float(np.quantile(spanned[:, c], 0.95)),
            share_p=(1 + int((spanned[:, c] >= share[c]).sum())) / (n + 1),
        )
        for c in range(len(vectors))
    ]
