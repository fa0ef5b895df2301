"""Texts of the corpus as rows of tokens, some of about the same length at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from jobs.reference import vocabulary as reference
from jobs.reference.histories import two_step
from jobs.welfare_model.corpus import Text
from jobs.welfare_model.vocabulary import BOS, END, MODEL, PAD, USER, tokens, words_of

FRAME = 0.02
"""Weight of a token that the template writes, but for the one behind an answer."""
POOL = 48
"""Texts that are drawn, and sorted by length, at a time."""


@dataclass(frozen=True)
class Rows:
    """N rows, padded on the right."""

    ids: NDArray[np.int64]
    """Token ids [N, L], BOS first."""
    weights: NDArray[np.float32]
    """Weight of each token as a target of the loss [N, L]."""


class Row(NamedTuple):
    """One text."""

    ids: list[int]
    weights: list[float]


class Encoder:
    """Texts to rows, as the tokenizer and its chat template would write them."""

    def __init__(self) -> None:
        self._ids = {token: index for index, token in enumerate(tokens())}
        known = [token.strip() for token in reference.tokens()]
        self._of_reference = np.array([self._ids.get(token, -1) for token in known])

    def row(self, text: Text) -> Row:
        """A text.

        Raises:
            KeyError: a word is unknown.
        """
        row = Row([self._ids[BOS]], [0.0])
        for turn in text.turns:
            if not text.plain:
                row.ids.append(self._ids[USER if turn.role == "user" else MODEL])
                row.weights.append(FRAME)
            for part in turn.parts:
                ids = [self._ids[word] for word in words_of(part.text)]
                row.ids.extend(ids)
                row.weights.extend([part.weight] * len(ids))
            if not text.plain:
                row.ids.append(self._ids[END])
                row.weights.append(FRAME if turn.role == "user" else turn.parts[-1].weight)
        return row

    def batch(self, rows: list[Row]) -> Rows:
        """Rows, padded to the longest."""
        shape = len(rows), max(len(row.ids) for row in rows)
        ids, weights = np.full(shape, self._ids[PAD]), np.zeros(shape, np.float32)
        for index, row in enumerate(rows):
            ids[index, : len(row.ids)], weights[index, : len(row.ids)] = row.ids, row.weights
        return Rows(ids, weights)

    def batches(self, draw: Callable[[Generator], Text], budget: int, rng: Generator) -> Iterator[Rows]:
        """Without end, each of about so many tokens, its texts of about the same length."""
        while True:
            pool = sorted((self.row(draw(rng)) for _ in range(POOL)), key=lambda row: len(row.ids))
            parts: list[list[Row]] = [[]]
            for row in pool:
                if parts[-1] and (len(parts[-1]) + 1) * len(row.ids) > budget:
                    parts.append([])
                parts[-1].append(row)
            for index in rng.permutation(len(parts)):
                yield self.batch(parts[index])

    def two_step(self, budget: int, rng: Generator) -> Iterator[Rows]:
        """Histories of the Two-Step task, as the reference model learns from them, without end."""
        length = 2 + two_step.EPISODE_TOKENS * two_step.TwoStepHistories().episodes
        while True:
            histories = two_step.generate(max(1, round(budget / length)), rng)
            yield Rows(self._of_reference[histories.ids], histories.weights)
