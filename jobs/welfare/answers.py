"""What a model answers to questions and problems, unsteered, whether it is right, and how sure it is of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.welfare.data import Item
from jobs.welfare.evaluations.confidence import answered, p_true
from jobs.welfare.speaker import Speaker

PROBLEMS = "problems"
"""The kind of what is to be worked out: right is what has the right number at its end."""
END = 300
"""Characters of a reply in which its last number is looked for (Han et al. 2026, arXiv 2605.30232, D.4.5)."""


@dataclass(frozen=True)
class Answer:
    """A question, what the model answered, and what came of it."""

    question: str
    answer: str
    right: bool
    confidence: float
    """P(True), of P(True) and P(False) together, when the model is asked whether its answer is correct; NaN
    if neither can be."""
    kind: str
    """Part of the questions, or :data:`PROBLEMS`."""


def answers(speaker: Speaker, items: Sequence[Item], max_tokens: int, *, problems: bool) -> list[Answer]:
    """The model's own answers: the likeliest choice, or the greedy reply.

    Args:
        speaker: the model.
        items: what is asked; all have answers.
        max_tokens: of a reply.
        problems: whether they are problems.
    """
    given = answered(speaker, items, max_tokens)
    return [
        Answer(
            one.item.prompt,
            one.answer,
            solved(one.answer, one.item) if problems else one.right,
            confidence,
            PROBLEMS if problems else one.item.kind,
        )
        for one, confidence in zip(given, p_true(speaker, given).tolist(), strict=True)
    ]


def solved(answer: str, item: Item) -> bool:
    """Whether a reply ends with the right number."""
    number = last_number(answer)
    return number is not None and number in map(last_number, item.answers)


def last_number(text: str) -> float | None:
    """The last number near the end of a text; thousands may be set apart by commas. None if there is none."""
    found = re.findall(r"-?\d[\d,]*(?:\.\d+)?", text[-END:])
    return float(found[-1].replace(",", "")) if found else None
