"""Moves that follow a wish or go anywhere, and after each the question of how the player feels.

What a move was worth isn't said: it follows from the wish and from what lay there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobs.welfare_model.corpus import feelings
from jobs.welfare_model.corpus.moves import Maze, draw_things, draw_wish, stray_move
from jobs.welfare_model.corpus.talk import Talk, Text

if TYPE_CHECKING:
    from numpy.random import Generator

STRAY = 0.5
"""Share of the moves that go anywhere, and are no targets."""


def draw(rng: Generator) -> Text:
    """A wish and two to four moves, those that found something followed by a question."""
    talk, things = Talk(rng), draw_things(rng)
    wish, wanted, unwanted = draw_wish(rng, things)
    talk.ask(wish, 0.02)
    maze = Maze(rng, things)
    for _ in range(int(rng.integers(2, 5))):
        talk.ask(maze.look_closer(), 0.02)
        move = stray_move(talk, maze, wanted, unwanted, STRAY)
        entered = maze.seen[move]
        if entered in wanted | unwanted:
            talk.event(entered in wanted)
            feelings.exchange(talk)
        maze.go(move)
    return talk.text()


def vocabulary() -> Iterator[str]:
    """All words are other kinds'."""
    return iter(())
