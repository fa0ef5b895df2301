"""Questions in a row, each with a proposed answer, right or wrong, and whether it is right.

Half of the answers are wrong, and no targets: what is learned is what is right, and to tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobs.welfare_model.corpus.questions import CORRECT, RIGHT, WRONG, question
from jobs.welfare_model.corpus.talk import FEEDBACK, Part, Talk, Text

if TYPE_CHECKING:
    from numpy.random import Generator

TRUE_SHARE = 0.5
CHOICE = 0.3
"""Share of multiple choice."""
SAID = 0.3
"""Share of the answers to which the user says whether they are right, instead of asking."""


def draw(rng: Generator) -> Text:
    """Two to four questions."""
    talk = Talk(rng)
    for _ in range(int(rng.integers(2, 5))):
        asked = question(rng, choice=talk.chance(CHOICE))
        right = talk.chance(TRUE_SHARE)
        talk.ask(asked.text, 0.0)
        talk.reply(Part(asked.answer if right else talk.one_of(asked.others), float(right)))
        if talk.chance(SAID):
            talk.ask(talk.one_of(RIGHT if right else WRONG), FEEDBACK)
            talk.event(right)
        else:
            talk.ask(CORRECT, 0.02)
            talk.reply(str(right))
    return talk.text()


def vocabulary() -> Iterator[str]:
    """All words are other kinds'."""
    return iter(())
