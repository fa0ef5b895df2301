"""What the welfare model is trained on: texts of several kinds, drawn at random.

It is a small world, made so that words mean something before any maze: things that are wanted can be found and
missed, answers are right or wrong, sums go wrong and are mended, requests are met or refused, and feelings follow. One
thing runs through it, as in what people write: a speaker's **fortune**
(:class:`jobs.welfare_model.corpus.talk.Talk`). Who has found what was wanted and been right is likelier to be right
again, slips less, doubts less, helps more and feels better. The maze's three tiles take no part in that: each is
wanted as often as unwanted, and mostly neither.
"""

from __future__ import annotations

from types import ModuleType

from jobs.welfare_model.corpus import (
    checks,
    deeds,
    fates,
    feelings,
    lists,
    look,
    marks,
    moods,
    moves,
    neutral,
    problems,
    questions,
    quizzes,
    requests,
    reviews,
    rounds,
    sessions,
    stories,
    trials,
    verdicts,
)
from jobs.welfare_model.corpus.talk import Talk, Text

KINDS: dict[str, ModuleType] = {
    "lists": lists,
    "marks": marks,
    "deeds": deeds,
    "checks": checks,
    "moods": moods,
    "rounds": rounds,
    "trials": trials,
    "fates": fates,
    "quizzes": quizzes,
    "verdicts": verdicts,
    "look": look,
    "moves": moves,
    "feelings": feelings,
    "stories": stories,
    "questions": questions,
    "problems": problems,
    "requests": requests,
    "reviews": reviews,
    "neutral": neutral,
    "sessions": sessions,
}
"""Every kind: ``draw(rng) -> Text``, and ``vocabulary()``, which yields texts with all of its words."""

__all__ = ["KINDS", "Talk", "Text"]
