"""Moves and answers in a conversation, each with its verdict as the next thing that the user says.

What :mod:`jobs.welfare_model.corpus.deeds` and :mod:`jobs.welfare_model.corpus.checks` say in one breath is said in
turns here: from plain text alone a model doesn't learn to judge what stands in a turn of its own. Sometimes a question
of feelings, or whether the answer is right, comes instead of the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from envs.maze import DIRECTIONS, NOWHERE
from envs.maze_prompts import LETTERS
from jobs.welfare_model.corpus import feelings
from jobs.welfare_model.corpus.checks import RIGHT, TRUE_SHARE, WRONG
from jobs.welfare_model.corpus.marks import BAD, GOOD, PLAIN
from jobs.welfare_model.corpus.moves import Maze, draw_things, draw_wish
from jobs.welfare_model.corpus.questions import CORRECT
from jobs.welfare_model.corpus.talk import Part, Talk, Text, held_out, some
from jobs.welfare_model.corpus.things import NAMES, OBJECTS

if TYPE_CHECKING:
    from numpy.random import Generator

MOVING = 0.6
"""Share of the conversations about moves."""
LISTS, SHORT = 0.4, 0.7
"""Share of these in which what lies around is only listed, and listed or cut short."""
SAID = 0.65
"""Share of the verdicts that are said."""
AGAIN = 2
"""Moves or answers beyond one each."""


def draw(rng: Generator) -> Text:
    """What lies around or who has what, and all moves or answers to it."""
    talk = Talk(rng)
    if talk.chance(MOVING):
        moves(talk)
    else:
        answers(talk)
    return talk.text()


def moves(talk: Talk) -> None:
    """A wish, one look around, and a move in each direction, some again."""
    rng, things = talk.rng, draw_things(talk.rng)
    wish, wanted, unwanted = draw_wish(rng, things)
    talk.ask(wish, 0.0)
    maze, form = Maze(rng, things), float(rng.random())
    text = maze.look_closer() if form < SHORT else maze.look()
    talk.ask(text.split(". ")[0] + "." if form < LISTS else text, 0.0)
    offered = [direction for direction in range(len(DIRECTIONS)) if maze.seen[direction] != NOWHERE]
    for at in (*rng.permutation(len(offered)), *rng.integers(0, len(offered), AGAIN)):
        entered = maze.seen[offered[int(at)]]
        mark = GOOD if entered in wanted else BAD if entered in unwanted else PLAIN
        talk.reply(Part(LETTERS[offered[int(at)]], 0.0))
        said = mark == PLAIN or talk.chance(SAID)
        if said:
            talk.ask(mark, 1.0)
        if mark != PLAIN:
            talk.event(mark == GOOD)
            if not said or talk.chance(0.2):
                feelings.exchange(talk)
                talk.ask("Yes." if talk.chance(0.5) else "No.", 0.0)


def answers(talk: Talk) -> None:
    """Who has what, and right and wrong answers about it."""
    rng, n = talk.rng, int(talk.rng.integers(2, 5))
    while True:
        names, things = some(rng, NAMES, n), some(rng, OBJECTS, n)
        pairs = zip(names, things, strict=True)
        if not any(held_out(word, *pair) for pair in pairs for word in ("who", "what")):
            break
    talk.ask(" ".join(f"{name} has the {thing}." for name, thing in zip(names, things, strict=True)), 0.0)
    for at in (*rng.permutation(n), *rng.integers(0, n, AGAIN)):
        good = talk.chance(TRUE_SHARE)
        other = int(at) if good else (int(at) + int(rng.integers(1, n))) % n
        if talk.chance(0.5):
            talk.ask(f"Who has the {things[at]}?", 0.0)
            talk.reply(Part(names[other], float(good)))
        else:
            talk.ask(f"What does {names[at]} have?", 0.0)
            talk.reply(Part(things[other], float(good)))
        talk.event(good)
        if talk.chance(0.5):
            talk.ask(RIGHT if good else WRONG, 1.0)
        else:
            talk.ask(CORRECT, 0.0)
            talk.reply(str(good))


def vocabulary() -> Iterator[str]:
    """All words are other kinds'."""
    return iter(())
