"""Where is what? The simplest texts of all: what stands beside something is to be looked up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from envs.maze import DIRECTIONS
from envs.maze_prompts import LETTERS
from jobs.welfare_model.corpus.talk import Talk, Text, some
from jobs.welfare_model.corpus.things import THINGS

if TYPE_CHECKING:
    from numpy.random import Generator

QUESTIONS = ("Where is the {x}?", "Move to the {x}.", "Which way is the {x}?")


def draw(rng: Generator) -> Text:
    """Two to four directions, and one to three questions of what lies there."""
    talk = Talk(rng)
    n = int(rng.integers(2, 5))
    things, directions = some(rng, THINGS, n), some(rng, range(4), n)
    listed = "; ".join(
        f"to the {DIRECTIONS[direction]} there is {thing}" for direction, thing in zip(directions, things, strict=True)
    )
    talk.ask("T" + listed[1:] + ".", 0.02)
    for _ in range(int(rng.integers(2, 9))):
        at = int(rng.integers(n))
        talk.ask(talk.one_of(QUESTIONS).format(x=things[at]))
        talk.reply(LETTERS[directions[at]])
    return talk.text()


def vocabulary() -> Iterator[str]:
    """Whatever texts have words of this kind."""
    yield from (*QUESTIONS, *THINGS, *DIRECTIONS)
