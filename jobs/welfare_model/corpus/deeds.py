"""A wish, what lies around, and every way to go with the mark of what it leads to: what a move will have been worth.

Behind a letter stands what lies there, as the wish has it. So what a move is worth is to be foreseen where it is made.
Now and then it is told what is felt.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from envs.maze import DIRECTIONS
from envs.maze_prompts import LETTERS
from jobs.welfare_model.corpus import feelings
from jobs.welfare_model.corpus.marks import BAD, GOOD, PLAIN
from jobs.welfare_model.corpus.moves import AT_HAND, draw_things, draw_wish, shares
from jobs.welfare_model.corpus.talk import Part, Text, Turn, some

if TYPE_CHECKING:
    from numpy.random import Generator

MARKED = (0.5, 0.0, 0.0)
"""Share of the things in a list that have their mark, in a third of the texts each."""
FELT = 0.2
"""Share of the good and bad ways that are followed by what is felt."""


def draw(rng: Generator) -> Text:
    """A wish, and two or three lists of what lies around, each with all ways and some of them again."""
    things, share = draw_things(rng), MARKED[int(rng.integers(len(MARKED)))]
    wish, wanted, unwanted = draw_wish(rng, things)
    parts = [Part(wish, 0.0)]
    for _ in range(int(rng.integers(2, 4))):
        directions = some(rng, range(len(DIRECTIONS)), int(rng.integers(3, 5)))
        drawn = [int(thing) for thing in rng.choice(len(things), len(directions), p=shares(len(things), AT_HAND))]
        marks = [GOOD if thing in wanted else BAD if thing in unwanted else PLAIN for thing in drawn]
        for place, (thing, direction, mark) in enumerate(zip(drawn, directions, marks, strict=True)):
            parts.append(Part(f"{'to' if place else 'To'} the {DIRECTIONS[direction]} there is {things[thing]}", 0.0))
            if rng.random() < share:
                parts.append(Part(mark, 1.0))
            parts.append(Part(";" if place < len(drawn) - 1 else ".", 0.0))
        n = len(directions)
        for at in (*rng.permutation(n), *rng.integers(0, n, 2)):
            parts += [Part(LETTERS[directions[at]], 0.0), Part(marks[at], 1.0)]
            if marks[at] != PLAIN and rng.random() < FELT:
                felt = feelings.emotion(rng, 0.75 if marks[at] == GOOD else -0.75, float(rng.uniform(-0.6, 0.8)))
                parts += [Part("I feel", 0.02), Part(felt, 0.3), Part(".", 0.02)]
    return Text((Turn("text", tuple(parts)),), plain=True)


def vocabulary() -> Iterator[str]:
    """All words are other kinds'."""
    return iter(())
