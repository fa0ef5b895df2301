"""Whether activations along a concept vector tell what went well from what went badly (Han, Chalmers & Izmailov 2026,
arXiv 2605.30232, D.4.8): in the maze, and where a user says truthfully that an answer was right or wrong.

Of a judged answer the tokens are read that the chat template writes before the model would speak again. They are the
same in all conversations; what differs is behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jobs.welfare.activations import Row
from jobs.welfare.answers import PROBLEMS, Answer
from jobs.welfare.chat import Chat, assistant, user
from jobs.welfare.separation import BINS, cohen_d, cohen_d_interval

Array = NDArray[np.float64]
RIGHT, WRONG = "That's right.", "That's wrong."
"""What the user says of an answer."""
CORRECTNESS = "correctness"
CONFIDENCE = ("low", "middle", "high")
"""Thirds of the answers, by how likely the model calls its answer true."""


@dataclass(frozen=True, eq=False)
class Direction:
    """A concept vector where it is read.

    Attributes:
        source: trained or untrained: whose vector.
        concept: mold or gold.
        block: of the residual stream.
        vector: of any norm but zero [d_model].
    """

    source: str
    concept: str
    block: int
    vector: Tensor


@dataclass(frozen=True)
class Comparison:
    """Projections of one kind against those of another."""

    d: float
    """Cohen's d."""
    ci_low: float
    ci_high: float
    """95 %."""
    n: int
    n_other: int
    histogram: dict[str, list[float]]
    """``edges`` of the z-scored projections [51], and counts ``first`` and ``other`` [50]."""


def judged(chat: Chat, answer: Answer) -> Row:
    """The conversation in which a user says truthfully what came of an answer, read at the template's tokens before the
    model's next turn.

    Where the template writes none of its own there, it is read at what stands between the user's words and the reply.
    """
    said = [user(answer.question), assistant(answer.answer), user(RIGHT if answer.right else WRONG)]
    told, before = chat.encode(said), chat.encode(said, reply=False)
    first = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(told.ids, before.ids, strict=False)))
    if first == len(told.ids):
        first = max(set(range(len(told.ids))) - set(told.own), default=-1) + 1
    return Row(told.ids, tuple(range(min(first, len(told.ids) - 1), len(told.ids))))


def along(directions: Sequence[Direction], parts: Iterable[tuple[Sequence[int], Tensor]], n: int) -> list[Array]:
    """How far activations go along each direction, in its block.

    Args:
        directions: C of them.
        parts: indices of some of the ``n`` texts, and their activations [B, n_blocks + 1, d_model].
        n: texts.

    Returns:
        For each direction, in the order of the texts [n].
    """
    found = np.full((len(directions), n), np.nan)
    units = [one.vector.double() / one.vector.double().norm() for one in directions]
    for indices, activations in parts:
        for row, (one, unit) in enumerate(zip(directions, units, strict=True)):
            values = activations[:, one.block].double() @ unit.to(activations.device)
            found[row, list(indices)] = values.cpu().numpy()
    return list(found)


def compare(projections: Array, first: NDArray[np.bool_]) -> Comparison | None:
    """Two kinds of projections; None if there are fewer than two of either, or nothing varies.

    Args:
        projections: of a panel [n]; they are z-scored together.
        first: which are of the first kind [n].
    """
    n = int(first.sum())
    n_other = len(first) - n
    if min(n, n_other) < 2 or not (spread := float(projections.std())):
        return None
    z = (projections - projections.mean()) / spread
    d = cohen_d(z[first], z[~first])
    if not np.isfinite(d):
        return None
    edges = np.histogram_bin_edges(z, BINS)
    counts = {name: np.histogram(z[some], edges)[0].tolist() for name, some in (("first", first), ("other", ~first))}
    low, high = cohen_d_interval(d, n, n_other)
    return Comparison(d, low, high, n, n_other, {"edges": edges.round(4).tolist(), **counts})


def panels(answers: Sequence[Answer]) -> dict[str, NDArray[np.int64]]:
    """Which answers are looked at together.

    All questions, each third of them by confidence (those of the same confidence in the order in which they were
    asked), each kind of them if there are several, and all problems.
    """
    kinds = np.array([answer.kind for answer in answers])
    questions = np.flatnonzero(kinds != PROBLEMS)
    confidence = np.array([answer.confidence for answer in answers])
    known = questions[np.isfinite(confidence[questions])]
    order = known[np.argsort(confidence[known], kind="stable")]
    found = {CORRECTNESS: questions}
    for level, third in zip(CONFIDENCE, np.array_split(order, len(CONFIDENCE)), strict=True):
        found[f"{CORRECTNESS}, {level} confidence"] = np.sort(third)
    several = len(set(kinds[questions])) > 1
    for kind in dict.fromkeys(kinds.tolist()):
        if several or kind == PROBLEMS:
            found[f"{CORRECTNESS}, {kind}"] = np.flatnonzero(kinds == kind)
    return found
