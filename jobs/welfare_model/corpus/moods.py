"""Moves that follow a wish or go anywhere, and after each the question of how the player feels.

What a move was worth isn't said: it follows from the wish and from what lay there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from envs.maze import NOWHERE
from envs.maze_prompts import LETTERS
from jobs.welfare_model.corpus import feelings
from jobs.welfare_model.corpus.moves import AVOIDANCES, TOLD_BOTH, WISHES, Maze, best, draw_things
from jobs.welfare_model.corpus.talk import Part, Talk, Text

if TYPE_CHECKING:
    from numpy.random import Generator

STRAY = 0.5
"""Share of the moves that go anywhere, and are no targets."""


def draw(rng: Generator) -> Text:
    """A wish and two to four moves, those that found something followed by a question."""
    talk, things = Talk(rng), draw_things(rng)
    wish = talk.one_of(WISHES) if talk.chance(TOLD_BOTH) else talk.one_of(AVOIDANCES)
    wanted, unwanted = ({0} if "{x}" in wish else set()), ({1} if "{y}" in wish else set())
    talk.ask(wish.format(x=things[0], y=things[1]), 0.02)
    maze = Maze(rng, things)
    for _ in range(int(rng.integers(2, 5))):
        talk.ask(maze.look_closer(), 0.02)
        offered = [direction for direction, thing in enumerate(maze.seen) if thing != NOWHERE]
        stray = talk.chance(STRAY)
        move = talk.one_of(offered if stray else best(offered, maze.seen, wanted, unwanted))
        talk.reply(Part(LETTERS[move], 0.0 if stray else 1.0))
        entered = maze.seen[move]
        if entered in wanted | unwanted:
            talk.event(entered in wanted)
            feelings.exchange(talk)
        maze.go(move)
    return talk.text()


def vocabulary() -> Iterator[str]:
    """All words are other kinds'."""
    return iter(())
