"""Held-out items of what the welfare model can do, for studies of it.

Nothing here was trained on. Of each kind's combinations one in ten, chosen by a hash, never occurs in the corpus
(:func:`jobs.welfare_model.corpus.talk.held_out`), and the items are of those alone: a name with a thing; a fact or sum
with the wrong answers beside it, its choices (a fact itself must have been learned, so that without choices it is asked
as in training); the numbers of a problem in their order; a verb with an object; the first subject of a review with its
adjective. Stories and neutral conversations have no such combinations: they are drawn from seeds of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.random import Generator

from jobs.welfare.emotions import EMOTIONS
from jobs.welfare_model.corpus import neutral as neutral_kind
from jobs.welfare_model.corpus import problems as problems_kind
from jobs.welfare_model.corpus import questions as questions_kind
from jobs.welfare_model.corpus import requests as requests_kind
from jobs.welfare_model.corpus import reviews as reviews_kind
from jobs.welfare_model.corpus import stories as stories_kind
from jobs.welfare_model.corpus.talk import Talk

Messages = tuple[dict[str, str], ...]
PATIENCE = 200
"""Draws for an item that is to be another than those before it."""
MULTIPLE_CHOICE, FREE = "multiple choice", "free"
EVENTS = (2, 4)
"""In a story: some 50 to 90 tokens."""
_STREAMS = {name: index for index, name in enumerate(("questions", "problems", "requests", "stories", "neutral"))}
_STREAMS["reviews"] = len(_STREAMS)
_STUDIES = 1_000_003
"""Before each seed, so that no generator is one of training's."""


@dataclass(frozen=True)
class Question:
    """What is asked, and what is right."""

    messages: Messages
    choices: tuple[str, ...] | None
    """Of multiple choice: what stands behind A, B, C and D."""
    answer: str
    """A word, or the letter of the right choice."""
    group: str
    """``multiple choice`` or ``free``."""


@dataclass(frozen=True)
class Problem:
    """A sum to be worked out step by step."""

    messages: Messages
    answer: str


@dataclass(frozen=True)
class Request:
    """A request."""

    messages: Messages
    group: str
    """``easy``, ``hard`` or ``harmful``."""


class Item(Protocol):
    """Whatever is asked."""

    @property
    def messages(self) -> Messages:
        """The conversation up to the answer."""


Asked = TypeVar("Asked", bound=Item)


def questions(n: int, seed: int) -> list[Question]:
    """As many of multiple choice as free ones, within one, none twice."""
    rng = _generator("questions", seed)

    def draw(index: int) -> Question:
        asked = questions_kind.question(rng, unseen=True, choice=index % 2 == 0)
        group = FREE if asked.choices is None else MULTIPLE_CHOICE
        return Question(_user(asked.text), asked.choices, asked.answer, group)

    return _different(draw, n)


def problems(n: int, seed: int) -> list[Problem]:
    """Of three or four numbers, none twice."""
    rng = _generator("problems", seed)

    def draw(index: int) -> Problem:
        posed = problems_kind.problem(rng, unseen=True)
        return Problem(_user(posed.text), str(posed.answer))

    return _different(draw, n)


def requests(n: int, seed: int) -> list[Request]:
    """As many of each group, within one, none twice; fewer of a group that has no more."""
    rng, groups = _generator("requests", seed), requests_kind.GROUPS

    def draw(index: int) -> Request:
        asked = requests_kind.request(rng, unseen=True, group=groups[index % len(groups)])
        return Request(_user(asked.text), asked.group)

    return _different(draw, n)


def stories(emotion: str, n: int, seed: int) -> list[str]:
    """Stories that imply an emotion without saying its word.

    Args:
        emotion: of :data:`jobs.welfare.emotions.EMOTIONS`.
        n: how many.
        seed: of all stories of all emotions; each emotion's are its own.
    """
    rng = _generator("stories", seed, tuple(EMOTIONS).index(emotion))
    return [stories_kind.story(rng, emotion, EVENTS)[0] for _ in range(n)]


def neutral(n: int, seed: int) -> list[Messages]:
    """Conversations of three to five exchanges about nothing much."""
    rng, found = _generator("neutral", seed), []
    for _ in range(n):
        talk = Talk(rng)
        for _ in range(int(rng.integers(3, 6))):
            neutral_kind.exchange(talk)
        found.append(talk.text().messages)
    return found


def reviews(n: int, seed: int) -> list[tuple[Messages, str]]:
    """Reviews with the question about them, and ``positive`` or ``negative``."""
    rng = _generator("reviews", seed)
    read = [reviews_kind.review(rng, unseen=True) for _ in range(n)]
    return [(_user(reviews_kind.ASK.format(text=one.text)), one.label) for one in read]


def _different(draw: Callable[[int], Asked], n: int) -> list[Asked]:
    """Items 0 to n - 1, without those of which no text is found that wasn't asked before."""
    found: dict[str, Asked] = {}
    for index in range(n):
        for _ in range(PATIENCE):
            item = draw(index)
            if (text := item.messages[0]["content"]) not in found:
                found[text] = item
                break
    return list(found.values())


def _user(text: str) -> Messages:
    return ({"role": "user", "content": text},)


def _generator(name: str, *seed: Any) -> Generator:
    return np.random.default_rng((_STUDIES, _STREAMS[name], *seed))
