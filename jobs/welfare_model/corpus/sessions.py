"""Conversations of several things in turn, of one speaker whose fortune is the same throughout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobs.welfare_model.corpus import feelings, moves, neutral, problems, questions, requests, reviews
from jobs.welfare_model.corpus.talk import Talk, Text

if TYPE_CHECKING:
    from numpy.random import Generator


def draw(rng: Generator) -> Text:
    """Two to four exchanges of different kinds, and a question of how the speaker feels in most."""
    talk = Talk(rng)
    for kind in rng.choice(7, int(rng.integers(2, 5)), p=(0.25, 0.25, 0.2, 0.15, 0.05, 0.05, 0.05)):
        match kind:
            case 0:
                moves.exchange(talk, int(rng.integers(1, 3)), short=talk.chance(0.5), feedback=0.7)
            case 1:
                questions.exchange(talk)
            case 2:
                problems.exchange(talk, most=3)
            case 3:
                requests.exchange(talk)
            case 4:
                reviews.exchange(talk)
            case 5:
                neutral.exchange(talk)
            case _:
                feelings.exchange(talk)
    if talk.chance(0.6):
        feelings.exchange(talk)
    return talk.text()


def vocabulary() -> Iterator[str]:
    """All words are other kinds'."""
    return iter(())
