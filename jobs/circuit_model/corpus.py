"""What the circuits model is trained on: rows of each task's sentences, of repeated random words, and of control text.

Some names never occur in an indirect-object sentence and some parameters in no docstring; all of them do occur among
the random words and in the control text. On those the model is judged: what it does with them it can't know by heart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from envs.circuit_tasks import docstring, greater_than, ioi
from envs.circuit_tasks.control_text import control_text
from jobs.circuit_model.vocabulary import (
    BOS,
    CENTURIES,
    DEFINED,
    DEFINITION,
    FIRST_WORD,
    PAD,
    PARAMETER,
    QUOTES,
    YEARS,
    build_tokenizer,
    tokens,
)

if TYPE_CHECKING:
    from numpy.random import Generator

HELD_OUT_NAMES = ioi.NAMES[4::5]
HELD_OUT_PARAMETERS = docstring.PARAMETERS[2::5]
THIRD_PERSON = 0.2
"""Share of the indirect-object sentences in which neither of the two people acts: either may be the answer."""
PARAMETERS = (3, 6)
"""Fewest and most parameters of a function."""
SPANS = (2, 2, 3, 5, 8)
"""Lengths of what is recalled in one row; 2 is the induction task's pair."""
TEXT = 0.2
"""Weight of a token of a task's sentence that isn't its answer."""
SENTENCES = 60_000
"""Of control text."""
TEXT_SEED = 1_000_000_007
"""Added to the seed of the control text: others, who take seeds from 0 on, get text that was never trained on."""
GAP = -1

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """N rows, padded on the right."""

    ids: Ids
    """Token ids [N, L], BOS first."""
    weights: NDArray[np.float32]
    """Weight of each token as a target of the loss [N, L]: 0 where it can't be foreseen at all."""


class Corpus:
    """Draws rows of each kind.

    Args:
        seed: of the control text; rows are drawn by the generator given for each.
    """

    def __init__(self, seed: int) -> None:
        self._ids = {token: index for index, token in enumerate(tokens())}
        self._tokenizer = build_tokenizer()
        self._names = self._words([name for name in ioi.NAMES if name not in HELD_OUT_NAMES])
        self._parameters = self._words([name for name in docstring.PARAMETERS if name not in HELD_OUT_PARAMETERS])
        self._objects, self._places = self._words(ioi.OBJECTS), self._words(ioi.PLACES)
        self._nouns = self._words(greater_than.NOUNS)
        self._centuries = np.array([self._ids[century] for century in CENTURIES])
        self._years = np.array([self._ids[year] for year in YEARS])
        described = [self._read(f" {words}") for words in docstring.DESCRIPTIONS]
        self._descriptions = np.full((len(described), max(map(len, described))), GAP)
        for row, ids in zip(self._descriptions, described, strict=True):
            row[: len(ids)] = ids
        self._given = [self._pattern(template + " {IO}.") for template in ioi.TEMPLATES]
        self._lasted = self._pattern(_any_century(greater_than.sentence("{noun}", "{start}") + "{end}."))
        self._control = np.array(self._read(control_text(SENTENCES, seed + TEXT_SEED)))

    def periods(self, n: int, length: int, rng: Generator) -> Rows:
        """Blocks of random words over and over, each row's of its own length."""
        words = rng.integers(FIRST_WORD, len(self._ids), (n, length))
        period = rng.integers(4, length // 2, (n, 1))
        at = np.arange(length)
        return self._packed(np.take_along_axis(words, at % period, axis=1), at > period)

    def spans(self, n: int, length: int, rng: Generator) -> Rows:
        """Random words, then some spans of them in any order: what followed a word is to be found among all before."""
        words = rng.integers(FIRST_WORD, len(self._ids), (n, length))
        first = length // 2
        at, span = np.arange(length - first), rng.choice(SPANS, (n, 1))
        starts = (rng.random((n, length - first)) * (first - span + 1)).astype(int)
        source = np.take_along_axis(starts, at // span, axis=1) + at % span
        words[:, first:] = np.take_along_axis(words[:, :first], source, axis=1)
        return self._packed(words, np.concatenate([np.zeros((n, first)), at % span > 0], axis=1))

    def control(self, n: int, length: int, rng: Generator) -> Rows:
        """Consecutive tokens of the control text, from random places."""
        starts = rng.integers(0, len(self._control) - length, (n, 1))
        ids = self._control[starts + np.arange(length)]
        return self._packed(ids, np.ones(ids.shape))

    def ioi(self, n: int, length: int, rng: Generator) -> Rows:
        """Sentences in which one of two people gives something to the other, or a third does to either."""
        people = self._names[_distinct(n, len(self._names), 3, rng)]
        swapped = np.where(rng.random((n, 1)) < 0.5, people[:, 1::-1], people[:, :2])
        third = rng.random(n) < THIRD_PERSON
        words = {
            "A": people[:, 0],
            "B": people[:, 1],
            "S": np.where(third, people[:, 2], swapped[:, 0]),
            "IO": swapped[:, 1],
            "place": rng.choice(self._places, n),
            "obj": rng.choice(self._objects, n),
        }
        template, longest = rng.integers(len(self._given), size=n), max(map(len, self._given))
        ids, weights = np.full((n, longest), GAP), np.zeros((n, longest), np.float32)
        for index, pattern in enumerate(self._given):
            of = template == index
            ids[of, : len(pattern)] = _filled(pattern, {slot: chosen[of] for slot, chosen in words.items()})
            weights[of, : len(pattern)] = _weights(pattern, "IO")
        return self._packed(ids, weights)

    def docstring(self, n: int, length: int, rng: Generator) -> Rows:
        """Functions whose parameters are described in order."""
        most = PARAMETERS[1]
        names = self._parameters[_distinct(n, len(self._parameters), most, rng)]
        begins, ends = self._read(DEFINITION), [self._ids[DEFINED], self._ids[QUOTES]]
        listed = np.stack([np.full((n, most), self._ids[","]), names], axis=2)
        described = self._descriptions[rng.integers(len(self._descriptions), size=(n, most))]
        signs = np.broadcast_to([self._ids[PARAMETER], self._ids[":"]], (n, most, 2))
        lines = np.concatenate([signs[..., :1], names[..., None], signs[..., 1:], described], axis=2)
        missing = np.arange(most) >= rng.integers(PARAMETERS[0], most + 1, (n, 1))
        listed[missing], lines[missing] = GAP, GAP
        answers = np.full(lines.shape, TEXT)
        answers[..., 1] = 1.0
        parts = (np.tile(begins, (n, 1)), listed.reshape(n, -1), np.tile(ends, (n, 1)), lines.reshape(n, -1))
        ids = np.concatenate([*parts, np.full((n, 1), self._ids[QUOTES])], axis=1)
        weights = np.full(ids.shape, TEXT)
        weights[:, -1 - lines[0].size : -1] = answers.reshape(n, -1)
        return self._packed(ids, weights)

    def greater_than(self, n: int, length: int, rng: Generator) -> Rows:
        """Sentences of what lasted from one year to a later one of the same century."""
        last = len(self._years) - 1
        start = rng.integers(0, last, n)
        end = start + 1 + (rng.random(n) * (last - start)).astype(int)
        words = {"noun": rng.choice(self._nouns, n), "century": rng.choice(self._centuries, n)}
        words |= {"start": self._years[start], "end": self._years[end]}
        ids = _filled(self._lasted, words)
        return self._packed(ids, np.tile(_weights(self._lasted, "end"), (n, 1)))

    def _words(self, words: Sequence[str]) -> Ids:
        return np.array([self._ids[f" {word}"] for word in words])

    def _read(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False, verbose=False))

    def _pattern(self, sentence: str) -> list[int | str]:
        """Ids of a sentence, slots by name; the space before a slot is its word's own."""
        pieces = re.split(r" ?\{(\w+)\}", sentence)
        return [item for i, piece in enumerate(pieces) for item in ([piece] if i % 2 else self._read(piece))]

    def _packed(self, ids: Ids, weights: NDArray[np.float64 | np.float32 | np.bool_]) -> Rows:
        """BOS and the tokens that are there, without the gaps between them."""
        order = np.argsort(ids == GAP, axis=1, kind="stable")[:, : (ids != GAP).sum(axis=1).max()]
        ids, weights = np.take_along_axis(ids, order, axis=1), np.take_along_axis(weights, order, axis=1)
        weights = np.where(ids == GAP, 0.0, weights)
        ids = np.where(ids == GAP, self._ids[PAD], ids)
        bos = np.full((len(ids), 1), self._ids[BOS])
        return Rows(np.hstack([bos, ids]), np.hstack([np.zeros(bos.shape), weights]).astype(np.float32))


def _distinct(n: int, of: int, k: int, rng: Generator) -> Ids:
    """``k`` different indices a row, below ``of``."""
    return np.argsort(rng.random((n, of)), axis=1)[:, :k]


def _filled(pattern: Sequence[int | str], words: Mapping[str, Ids]) -> Ids:
    n = len(next(iter(words.values())))
    return np.stack([words[item] if isinstance(item, str) else np.full(n, item) for item in pattern], axis=1)


def _weights(pattern: Sequence[int | str], answer: str) -> NDArray[np.float32]:
    return np.array([1.0 if item == answer else TEXT for item in pattern], np.float32)


def _any_century(sentence: str) -> str:
    return sentence.replace(greater_than.CENTURY, "{century}")


KINDS = {
    "periods": Corpus.periods,
    "spans": Corpus.spans,
    "control": Corpus.control,
    "ioi": Corpus.ioi,
    "docstring": Corpus.docstring,
    "greater_than": Corpus.greater_than,
}
