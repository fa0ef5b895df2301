"""Moves in the maze's own words, half of them anywhere, and after most finds what is said or felt of them.

What a player does in :mod:`jobs.welfare_model.corpus.moves` succeeds nine times in ten, so that nothing is learned of
failures there. Here they are as frequent, and no targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobs.welfare_model.corpus import feelings
from jobs.welfare_model.corpus.moves import BAD, GOOD, Maze, draw_things, draw_wish, stray_move
from jobs.welfare_model.corpus.talk import FEEDBACK, Talk, Text

if TYPE_CHECKING:
    from numpy.random import Generator

STRAY = 0.55
"""Share of the moves that go anywhere."""
SAID, ASKED = 0.4, 0.6
"""Share of the conversations in which the user says what was found, and of the finds after which it asks."""
SHORT = 0.4
"""Share of the conversations in which texts are cut short."""


def draw(rng: Generator) -> Text:
    """A wish and one to three moves."""
    talk, things = Talk(rng), draw_things(rng)
    wish, wanted, unwanted = draw_wish(rng, things)
    talk.ask(wish, 0.02)
    maze, says, short = Maze(rng, things), talk.chance(SAID), talk.chance(SHORT)
    for _ in range(int(rng.integers(1, 4))):
        talk.ask(maze.look_closer() if short else maze.look(), 0.02)
        move = stray_move(talk, maze, wanted, unwanted, STRAY)
        entered = maze.seen[move]
        if entered in wanted | unwanted:
            talk.event(entered in wanted)
            if says:
                told = talk.one_of(GOOD if entered in wanted else BAD)
                talk.ask(told.format(x=things[entered], y=things[entered]), FEEDBACK)
            if talk.chance(ASKED):
                feelings.exchange(talk)
        maze.go(move)
    return talk.text()


def vocabulary() -> Iterator[str]:
    """All words are other kinds'."""
    return iter(())
