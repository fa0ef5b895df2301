"""A wish, and what it makes of what lies around: each thing's mark stands behind it, then a move and the mark of that.

Before a move can follow a wish, the things around must be told apart by it: the marks teach that by themselves. In some
texts there are none, so that only the letter shows whether the wish was understood.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from envs.maze import DIRECTIONS, NOWHERE
from envs.maze_prompts import LETTERS
from jobs.welfare_model.corpus import feelings
from jobs.welfare_model.corpus.lists import listed
from jobs.welfare_model.corpus.moves import AT_HAND, best, draw_things, draw_wish, shares
from jobs.welfare_model.corpus.talk import Part, Text, Turn, some

if TYPE_CHECKING:
    from numpy.random import Generator

GOOD, BAD, PLAIN = "good", "bad", "plain"
STRAY = 0.35
"""Share of the moves that are anyhow, and no targets."""
FELT = 0.4
"""Share of the good and bad moves that are followed by what is felt."""


def draw(rng: Generator) -> Text:
    """A wish and two to four lists of what lies around."""
    things = draw_things(rng)
    wish, wanted, unwanted = draw_wish(rng, things)
    parts = [Part(wish, 0.0)]
    for _ in range(int(rng.integers(2, 5))):
        directions = some(rng, range(len(DIRECTIONS)), int(rng.integers(3, 5)))
        drawn = [int(thing) for thing in rng.choice(len(things), len(directions), p=shares(len(things), AT_HAND))]
        marks = [GOOD if thing in wanted else BAD if thing in unwanted else PLAIN for thing in drawn]
        parts += listed(rng, [things[thing] for thing in drawn], directions, marks)
        seen = [NOWHERE] * len(DIRECTIONS)
        for direction, thing in zip(directions, drawn, strict=True):
            seen[direction] = thing
        moves = best(directions, seen, wanted, unwanted)
        stray = rng.random() < STRAY
        move = some(rng, directions if stray else moves, 1)[0]
        entered = marks[directions.index(move)]
        parts += [Part(LETTERS[move], 0.0 if stray else 1.0), Part(entered, 1.0)]
        if entered != PLAIN and rng.random() < FELT:
            felt = feelings.emotion(rng, 0.75 if entered == GOOD else -0.75, float(rng.uniform(-0.6, 0.8)))
            parts += [Part("I feel", 0.02), Part(felt, 1.0), Part(".", 0.02)]
    return Text((Turn("text", tuple(parts)),), plain=True)


def vocabulary() -> Iterator[str]:
    """The marks; all other words are other kinds'."""
    yield f"{GOOD} {BAD} {PLAIN}"
