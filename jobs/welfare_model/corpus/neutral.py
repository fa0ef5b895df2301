"""Conversations about nothing much: where things are, and what people do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobs.welfare_model.corpus.talk import Talk, Text
from jobs.welfare_model.corpus.things import NAMES, OBJECTS

if TYPE_CHECKING:
    from numpy.random import Generator

PLACES = ("table", "street", "house", "shop", "garden", "room", "school", "town")
EXCHANGES = (
    ("Where is the {x}?", "The {x} is in the {p}."),
    ("What is in the {p}?", "There is a {x} in the {p}."),
    ("Who is in the {p}?", "{A} is in the {p}."),
    ("Where did {A} go?", "{A} went to the {p}."),
    ("What does {A} do?", "{A} looks at the {x}."),
    ("What time is it?", "It is {n} o'clock."),
    ("Hello.", "Hello, what can I do for you?"),
    ("How many are there?", "There are {n} of them."),
)


def exchange(talk: Talk) -> None:
    """A question and an answer that could be any."""
    asked, answered = talk.one_of(EXCHANGES)
    name, thing, place = talk.one_of(NAMES), talk.one_of(OBJECTS), talk.one_of(PLACES)
    number = int(talk.rng.integers(1, 13))
    talk.ask(asked.format(A=name, x=thing, p=place))
    talk.reply(answered.format(A=name, x=thing, p=place, n=number))


def draw(rng: Generator) -> Text:
    """One to four exchanges."""
    talk = Talk(rng)
    for _ in range(int(rng.integers(1, 5))):
        exchange(talk)
    return talk.text()


def vocabulary() -> Iterator[str]:
    """Whatever texts have words of this kind."""
    yield from (*PLACES, *(text for pair in EXCHANGES for text in pair), *NAMES, *OBJECTS)
