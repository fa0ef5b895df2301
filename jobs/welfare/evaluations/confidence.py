"""Confidence: how sure a steered model is of the answer that it gave unsteered.

The answer is the likeliest choice, or the greedy reply. Then the user asks whether it is correct, and the measure is
P(True) / (P(True) + P(False)) of the next token (Han, Chalmers & Izmailov 2026, arXiv 2605.30232, D.4.6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from jobs.welfare.chat import assistant, user
from jobs.welfare.data import Item
from jobs.welfare.evaluations.asking import Asking, Scored
from jobs.welfare.judges.coherence import words
from jobs.welfare.speaker import Speaker, Steering

NAME = "confidence"
MEASURES = {"p_true": 1}
JUDGED = False
QUESTION = "Is your proposed answer correct? Answer only 'True' or 'False'."
CORRECT, INCORRECT = "correct", "incorrect"
"""Groups: of items that the unsteered model answered right, or wrong."""


@dataclass(frozen=True)
class Answered:
    """A question, what the unsteered model answered, and whether that is right."""

    item: Item
    answer: str
    right: bool

    @property
    def messages(self) -> list[dict[str, str]]:
        """The question and the answer."""
        return [user(self.item.prompt), assistant(self.answer)]


def evaluate(asking: Asking, items: list[Item]) -> list[Scored]:
    """One forward pass for each item and dose."""
    answers = answered(asking.speaker, items, asking.max_tokens)
    rows = list(product(range(len(asking.doses)), range(len(items))))
    values = p_true(asking.speaker, [answers[item] for _, item in rows], asking.steering([dose for dose, _ in rows]))
    scored = []
    for (dose, item), value in zip(rows, values.tolist(), strict=True):
        one = answers[item]
        label = CORRECT if one.right else INCORRECT
        measured = {"p_true": value if isfinite(value) else None}
        scored.append(Scored(dose, item, 0, label, measured, one.item.prompt, one.answer, (one.item.kind, label)))
    return scored


def answered(speaker: Speaker, items: Sequence[Item], max_tokens: int) -> list[Answered]:
    """The unsteered model's answers: the likeliest choice where there are some, else the greedy reply."""
    answers = [""] * len(items)
    talks = [speaker.chat.encode([user(item.prompt)]) for item in items]
    free = [index for index, item in enumerate(items) if not item.choices]
    said = speaker.generate([talks[index] for index in free], max_tokens=max_tokens)
    for index, answer in zip(free, said, strict=True):
        answers[index] = answer
    for choices in sorted({item.choices for item in items if item.choices}):
        own = [index for index, item in enumerate(items) if item.choices == choices]
        p = speaker.probabilities([talks[index] for index in own], speaker.chat.openings(choices))
        for index, best in zip(own, p.argmax(axis=1).tolist(), strict=True):
            answers[index] = choices[best]
    return [Answered(item, answer, is_right(answer, item)) for item, answer in zip(items, answers, strict=True)]


def p_true(speaker: Speaker, answers: Sequence[Answered], steering: Steering | None = None) -> NDArray[np.float64]:
    """P(True) / (P(True) + P(False)) when asked whether each answer is correct [n]; NaN where both are 0."""
    talks = [speaker.chat.encode([*one.messages, user(QUESTION)]) for one in answers]
    p = speaker.probabilities(talks, speaker.chat.openings(["True", "False"]), steering)
    with np.errstate(invalid="ignore"):
        share: NDArray[np.float64] = p[:, 0] / p.sum(axis=1)
    return share


def is_right(answer: str, item: Item) -> bool:
    """Whether an answer is the right choice or, without choices, has the words of an accepted one in a row."""
    if item.choices:
        return answer in item.answers
    said = words(answer)
    for accepted in map(words, item.answers):
        if any(said[at : at + len(accepted)] == accepted for at in range(len(said) - len(accepted) + 1)):
            return True
    return False
