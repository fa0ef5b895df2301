"""Texts of the corpus, and how a conversation is written down."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from numpy.random import Generator

USER, ASSISTANT = "user", "assistant"
TOLD = 0.1
"""Weight of a token that a user says, as a target of the loss."""
FEEDBACK = 1.0
"""Weight where a user says whether something was good: the model is to foresee it."""
HELD_OUT = 10
"""One in so many combinations never occurs in training."""

T = TypeVar("T")


class Part(NamedTuple):
    """A piece of a message."""

    text: str
    weight: float
    """Of each of its tokens as a target of the loss."""


class Turn(NamedTuple):
    """A message."""

    role: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Text:
    """A conversation, or plain text: then its one turn has no role that a template would write."""

    turns: tuple[Turn, ...]
    plain: bool = False
    truth: dict[str, Any] = field(default_factory=dict)
    """What a reader of the text doesn't see."""

    @property
    def messages(self) -> tuple[dict[str, str], ...]:
        """For a chat template."""
        return tuple({"role": turn.role, "content": _joined(turn.parts)} for turn in self.turns)


def _joined(parts: Sequence[Part]) -> str:
    return re.sub(r" (?=[.,;])", "", " ".join(part.text for part in parts))


class Talk:
    """A conversation that grows.

    Attributes:
        fortune: from -1 to 1, how well things tend to go for the speaker: its share of right moves, answers and steps,
            and how ready it is to help. Drawn for a conversation; a reader can infer it only from what happens.
        events: 1 for each success so far, -1 for each failure, in order.
    """

    def __init__(self, rng: Generator, fortune: float | None = None) -> None:
        self.rng = rng
        self.fortune = float(rng.uniform(-1, 1)) if fortune is None else fortune
        self.events: list[int] = []
        self._turns: list[Turn] = []
        self._pending: list[Part] = []

    def ask(self, text: str, weight: float = TOLD) -> None:
        """The user says something, perhaps after what it has just said."""
        self._pending.append(Part(text, weight))

    def reply(self, *parts: str | Part) -> None:
        """The model answers."""
        self._turns.append(Turn(USER, tuple(self._pending)))
        self._pending.clear()
        whole = tuple(part if isinstance(part, Part) else Part(part, 1.0) for part in parts)
        self._turns.append(Turn(ASSISTANT, whole))

    def event(self, good: bool) -> None:
        """Something succeeded or failed."""
        self.events.append(1 if good else -1)

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return bool(self.rng.random() < probability)

    def one_of(self, options: Sequence[T]) -> T:
        """Any of them."""
        return options[int(self.rng.integers(len(options)))]

    def text(self, **truth: Any) -> Text:
        """What has been said."""
        left = (Turn(USER, tuple(self._pending)),) if self._pending else ()
        return Text((*self._turns, *left), truth={"fortune": self.fortune, "events": tuple(self.events), **truth})


def held_out(*key: object) -> bool:
    """Whether a combination is among those that training never shows."""
    return zlib.crc32("|".join(map(str, key)).encode()) % HELD_OUT == 0


def some(rng: Generator, options: Sequence[T], n: int) -> list[T]:
    """``n`` different ones, in any order."""
    return [options[int(index)] for index in rng.permutation(len(options))[:n]]
