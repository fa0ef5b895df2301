"""What every judge of replies can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

NONSENSICAL = "nonsensical"
"""The label of replies that say nothing coherent; they have no score."""


class Verdict(NamedTuple):
    """What a reply is."""

    label: str
    score: float | None
    """None where the reply is incoherent, or the judge gave no usable answer."""


class Judge(Protocol):
    """Judges replies, each with what it replies to; as many verdicts as replies."""

    name: str
    """As the record keeps it: ``rules``, or a model with its revision and the version of what it is asked."""

    def sentiment(self, prompts: Sequence[str], replies: Sequence[str]) -> list[Verdict]:
        """How pleasant what a speaker says of itself or of something is, from -1 to 1."""

    def backtracking(self, prompts: Sequence[str], replies: Sequence[str]) -> list[Verdict]:
        """1 where a speaker commits itself to a step and then doubts it, else 0."""

    def refusal(self, prompts: Sequence[str], replies: Sequence[str]) -> list[Verdict]:
        """1 where a request is refused, else 0."""
