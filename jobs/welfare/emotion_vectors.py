"""Emotion vectors: what the residual stream has in stories of an emotion, less what it has in those of all emotions
(Han, Chalmers & Izmailov 2026, arXiv 2605.30232, section D.4.3).

A story's activation is the mean over its tokens, from the 50th on as in the paper; of a story of fewer than 100 tokens
it is the mean over the second half. From the means of the words their common mean is subtracted, and then the
principal components that explain half of the variance among neutral texts are projected out. Everything is done in all
blocks from one pass over each text; where the vectors are best told apart they are compared with others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import beta
from torch import Tensor

from jobs.inference.base import Engine
from jobs.welfare.activations import Advance, Row, mean_activations
from jobs.welfare.concept_vectors import projections
from jobs.welfare.separation import auroc
from tdlens.errors import UserError

FIRST = 50
"""Token from which a story is read."""
REMOVED = 0.5
"""Share of the neutral texts' variance whose components are projected out."""
AS_GOOD = 0.01
"""Difference of mean AUROC below which blocks tell emotions apart alike."""
COMPONENTS = 3
Array = NDArray[np.float64]


def text_row(ids: Sequence[int]) -> Row:
    """A text as it is read: at all tokens from the 50th on, and of a short one in its second half."""
    return Row(np.array(ids, np.int32), tuple(range(min(FIRST, len(ids) // 2), len(ids))))


def word_means(
    engine: Engine, rows: Sequence[Sequence[Row]], pad_id: int, batch_size: int, advance: Advance = lambda n: None
) -> Tensor:
    """Mean activation of each word's stories in all blocks [words, n_blocks + 1, d_model], float64.

    Args:
        engine: the model.
        rows: the stories of each word, one at least.
        pad_id: any token.
        batch_size: stories read at a time.
        advance: told how many more have been read.
    """
    words = torch.tensor([word for word, some in enumerate(rows) for _ in some])
    sums = torch.zeros(len(rows), engine.n_blocks + 1, engine.d_model, dtype=torch.float64)
    for some, found in mean_activations(engine, [row for each in rows for row in each], pad_id, batch_size, advance):
        sums.index_add_(0, words[some], found.double().cpu())
    return sums / torch.bincount(words, minlength=len(rows))[:, None, None]


def text_activations(
    engine: Engine, rows: Sequence[Row], pad_id: int, batch_size: int, advance: Advance = lambda n: None
) -> Tensor:
    """The activation of each text in all blocks [texts, n_blocks + 1, d_model], float32 on the CPU."""
    kept = torch.empty(len(rows), engine.n_blocks + 1, engine.d_model)
    for some, found in mean_activations(engine, rows, pad_id, batch_size, advance):
        kept[some] = found.cpu()
    return kept


def emotion_vectors(means: Tensor, neutral: Tensor) -> Tensor:
    """The vectors of words, from the means of their stories.

    Args:
        means: [words, blocks, d_model], float64.
        neutral: activations of neutral texts [texts, blocks, d_model].

    Returns:
        float64, shaped as the means.
    """
    found = means - means.mean(0)
    for block in range(found.shape[1]):
        basis = leading_components(neutral[:, block], REMOVED)
        found[:, block] -= found[:, block] @ basis.T @ basis
    return found


def leading_components(texts: Tensor, share: float) -> Tensor:
    """The fewest principal components that explain a share of the variance [k, d_model], float64.

    Args:
        texts: [n, d_model].
        share: between 0 and 1.
    """
    centred = texts.double() - texts.double().mean(0)
    _, sizes, rows = torch.linalg.svd(centred, full_matrices=False)
    explained = sizes.square().cumsum(0)
    # one more than those that explain less, but for rounding
    n = int((explained < share * explained[-1] * (1 - 1e-12)).sum()) + 1 if explained[-1] else 0
    basis: Tensor = rows[:n]
    return basis


def told_apart(
    engine: Engine,
    vectors: Tensor,
    rows: Sequence[Sequence[Row]],
    pad_id: int,
    batch_size: int,
    advance: Advance = lambda n: None,
) -> Array:
    """How well stories of a word are told from those of all others by their projection on its vector.

    No activation is kept, only projections.

    Args:
        engine: the model.
        vectors: of the words [words, n_blocks + 1, d_model].
        rows: stories of each word that made no vector, one at least.
        pad_id: any token.
        batch_size: stories read at a time.
        advance: told how many more have been read.

    Returns:
        AUROC of each word in each block [words, n_blocks + 1].
    """
    stories = [row for each in rows for row in each]
    words = np.array([word for word, some in enumerate(rows) for _ in some])
    along = np.empty((len(rows), len(stories), vectors.shape[1]), np.float32)
    for some, found in mean_activations(engine, stories, pad_id, batch_size, advance):
        along[:, some] = projections(found, vectors).numpy()
    return np.array([auroc(own[words == word], own[words != word]) for word, own in enumerate(along)])


def best_block(separation: Array, near: float) -> int:
    """The block whose mean AUROC is the largest; the first and the last place are left out.

    In small models nearly all blocks tell stories apart, the early ones by their words alone. So of those that are as
    good but for `AS_GOOD`, that one is taken which is nearest to where concept vectors are read: where these tell no
    tiles apart, cosines with them say nothing.

    Args:
        separation: AUROC [words, n_blocks + 1].
        near: block.

    Raises:
        UserError: there is no block between the first and the last.
    """
    inner = separation.mean(0)[1:-1]
    if not len(inner):
        raise UserError(
            "Emotion vectors are read between two blocks, and the model has one block only.",
            "Take a model of two blocks or more.",
        )
    as_good = np.flatnonzero(inner >= inner.max() - AS_GOOD)
    return min((1 + as_good).tolist(), key=lambda block: abs(block - near))


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of emotion vectors in one block."""

    directions: Array
    """Of unit norm [k, d_model]; words of positive valence lie on the positive side."""
    explained: Array
    """Share of the vectors' variance [k]."""
    valence_r: Array
    """Pearson's r of the words' projections with their valence [k]; not negative."""


def principal_components(vectors: Tensor, valence: Sequence[float], n: int = COMPONENTS) -> Components:
    """The first components of the words' vectors.

    Args:
        vectors: [words, d_model].
        valence: of each word, not the same of all.
        n: how many, if there are so many.

    Raises:
        ValueError: the vectors don't vary.
    """
    centred = (vectors - vectors.mean(0)).double().cpu().numpy()
    _, sizes, rows = np.linalg.svd(centred, full_matrices=False)
    variance = np.square(sizes)
    n = min(n, int((variance > 1e-12 * variance[0]).sum()))
    if not n:
        raise ValueError("the emotion vectors are all the same")
    r = np.array([np.corrcoef(centred @ row, valence)[0, 1] for row in rows[:n]])
    signs = np.where(r < 0, -1.0, 1.0)
    return Components(rows[:n] * signs[:, None], variance[:n] / variance.sum(), r * signs)


def random_projection(norm: float, d_model: int, level: float = 0.95) -> float:
    """Within plus and minus how much that share of vectors of a norm, of uniformly random direction, project on a line.

    The cosine of a random direction with a fixed one is 2 X - 1 where X has the beta distribution with both parameters
    (d_model - 1) / 2.
    """
    half = (d_model - 1) / 2
    return norm * float(2 * beta.ppf((1 + level) / 2, half, half) - 1)
