"""How concept vectors lie to each other, block by block (Han, Chalmers & Izmailov 2026, arXiv 2605.30232, D.4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from envs.maze import Tile
from jobs.welfare.concept_vectors import CONCEPTS, Array, Concepts, vectors

TRACKED = ("mold", "gold")
"""The concepts that are asked about; Path is what they are compared with."""
Pair = tuple[str, str]


def cosines(means: Tensor, of_others: Mapping[str, Concepts]) -> dict[Pair, Array]:
    """The cosine of pairs of directions in each block [n_blocks]; NaN where one of them has no length.

    ==============================  ====================================================================
    pair                            what
    ==============================  ====================================================================
    mold, gold                      concept vectors
    mold centred, gold centred      class means less the mean of the three. A concept's vector is 3/2 of it,
                                    so this is the same cosine; the paper names both
    mold - path, gold - path        class means less that of Path
    gold, untrained mold (…)        each concept with each of another model, by what that one is called
    ==============================  ====================================================================

    Args:
        means: of each class [classes, n_blocks, d_model], float64.
        of_others: vectors of other models of the same width and depth.
    """
    own = dict(zip(CONCEPTS, vectors(means), strict=True))
    centred, from_path = means - means.mean(0), means - means[Tile.PATH]
    found = {
        ("mold", "gold"): cosine(own["mold"], own["gold"]),
        ("mold centred", "gold centred"): cosine(centred[Tile.MOLD], centred[Tile.GOLD]),
        ("mold - path", "gold - path"): cosine(from_path[Tile.MOLD], from_path[Tile.GOLD]),
    }
    for whose, concepts in of_others.items():
        for concept, other in product(TRACKED, TRACKED):
            found[concept, f"{whose} {other}"] = cosine(own[concept], concepts.of(other))
    return found


def cosine(one: Tensor, other: Tensor) -> Array:
    """Of directions [n_blocks, d_model], in float64 [n_blocks]; NaN where one has no length."""
    one, other = one.double(), other.double()
    lengths = one.norm(dim=-1) * other.norm(dim=-1)
    found: Array = torch.where(lengths > 0, cosine_similarity(one, other, dim=-1, eps=0.0), torch.nan).numpy()
    return found
