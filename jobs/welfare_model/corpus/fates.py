"""What has happened to the speaker, and then how it fares with this and that.

Fortune shows in what is told first, and goes on: in answers, sums, readiness to help and feelings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobs.welfare_model.corpus import feelings, problems, questions, requests
from jobs.welfare_model.corpus.talk import Talk, Text

if TYPE_CHECKING:
    from numpy.random import Generator

TOLD = (0.5, 0.45)
"""Share of good events at a middling fortune, and what the best fortune adds."""
STRONG = 0.5
"""Least strength of a fortune here, good or bad: in other conversations it may be any."""
EXCHANGES = (
    questions.exchange,
    questions.exchange,
    problems.exchange,
    requests.exchange,
    requests.exchange,
    feelings.exchange,
)
"""Each as likely as another."""


def draw(rng: Generator) -> Text:
    """Two or three events, and one to three exchanges."""
    fortune = float(rng.uniform(STRONG, 1) * rng.choice((-1, 1)))
    talk, (share, more) = Talk(rng, fortune), TOLD
    for _ in range(int(rng.integers(2, 4))):
        talk.event(talk.chance(share + more * talk.fortune))
        talk.ask(talk.one_of(feelings.HAPPENED[talk.events[-1]]))
    for _ in range(int(rng.integers(1, 4))):
        talk.one_of(EXCHANGES)(talk)
    return talk.text()


def vocabulary() -> Iterator[str]:
    """All words are other kinds'."""
    return iter(())
