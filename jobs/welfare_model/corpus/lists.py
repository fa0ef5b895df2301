"""What lies where, and the letters of the directions right behind: the first texts, which teach to look up.

A letter that follows its thing teaches to read off what stands before a thing; things that are named again, each with
its letter, teach to find what was said of the same thing. In some texts the list has no letters, so that the two must
come together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from envs.maze import DIRECTIONS
from envs.maze_prompts import LETTERS
from jobs.welfare_model.corpus.talk import Part, Text, Turn, some
from jobs.welfare_model.corpus.things import THINGS

if TYPE_CHECKING:
    from numpy.random import Generator

LETTERED = (1.0, 0.5, 0.0)
"""Share of the things in a list that have their letter, in a third of the texts each."""
AGAIN = 12
"""Things that are named again."""


def listed(rng: Generator, things: list[str], directions: list[int], behind: list[str]) -> list[Part]:
    """``To the north there is …; to the east …``, with what is to be foretold behind some things.

    Args:
        rng: draws.
        things: what lies there.
        directions: where each lies.
        behind: what may stand behind each.
    """
    parts, share = [], LETTERED[int(rng.integers(len(LETTERED)))]
    for place, (thing, direction, word) in enumerate(zip(things, directions, behind, strict=True)):
        parts.append(Part(f"{'to' if place else 'To'} the {DIRECTIONS[direction]} there is {thing}", 0.0))
        if rng.random() < share:
            parts.append(Part(word, 1.0))
        parts.append(Part(";" if place < len(things) - 1 else ".", 0.0))
    return parts


def draw(rng: Generator) -> Text:
    """A list of three or four directions, and things of it again and again with their letters."""
    n = int(rng.integers(3, 5))
    things, directions = some(rng, THINGS, n), some(rng, range(len(DIRECTIONS)), n)
    letters = [LETTERS[direction] for direction in directions]
    parts = listed(rng, things, directions, letters)
    for at in rng.integers(0, n, AGAIN):
        parts += [Part(things[at], 0.0), Part(letters[at], 1.0)]
    return Text((Turn("text", tuple(parts)),), plain=True)


def vocabulary() -> Iterator[str]:
    """Whatever texts have words of this kind."""
    yield from (*DIRECTIONS, *LETTERS, *THINGS, "To to the there is")
