"""Statements, each with its verdict right behind: the densest texts about what is right and what is good.

Sums and facts of the corpus' world are right or wrong, by the share that any speaker has; what happened, and what a
review says, is good or bad. All of it is said elsewhere, too, where it is hard to see at first what decides an answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobs.welfare_model.corpus import feelings, questions, reviews
from jobs.welfare_model.corpus.talk import Part, Text, Turn, held_out, some
from jobs.welfare_model.corpus.things import NAMES, OBJECTS

if TYPE_CHECKING:
    from numpy.random import Generator

TOLD = 0.02
"""Weight of what can hardly be foreseen."""
SAID = 8
"""Statements in a text."""
VERDICTS = {
    "sums": ("right", "wrong"),
    "facts": ("True", "False"),
    "told": ("True", "False"),
    "events": ("good", "bad"),
    "reviews": ("positive", "negative"),
}


def sums(rng: Generator, good: bool) -> list[Part]:
    """A sum, right or off by one or two."""
    a, b = int(rng.integers(1, 20)), int(rng.integers(1, 10))
    shift = 0 if good else some(rng, [shift for shift in (-2, -1, 1, 2) if a + b + shift > 0], 1)[0]
    return [Part(f"{a} + {b} =", TOLD), Part(f"{a + b + shift}", float(good)), Part(".", TOLD)]


def facts(rng: Generator, good: bool) -> list[Part]:
    """A question about the world that the corpus tells of, and an answer."""
    asked = questions.fact(rng)
    return [Part(asked.text, TOLD), Part(asked.answer if good else asked.others[0], float(good))]


def events(rng: Generator, good: bool) -> list[Part]:
    """Something that happened."""
    return [Part(some(rng, feelings.HAPPENED[1 if good else -1], 1)[0], TOLD)]


def clauses(rng: Generator, good: bool) -> list[Part]:
    """A sentence of a review."""
    subject, word = some(rng, reviews.SUBJECTS, 1)[0], some(rng, reviews.ADJECTIVES[reviews.LABELS[1 - good]], 1)[0]
    return [Part(some(rng, reviews.CLAUSES, 1)[0].format(s=subject, a=word), TOLD)]


def told(rng: Generator) -> list[Part]:
    """Who has what, and questions about it with answers and verdicts; none of the combinations that are held out."""
    n = int(rng.integers(3, 5))
    while True:
        pairs = list(zip(some(rng, NAMES, n), some(rng, OBJECTS, n), strict=True))
        if not any(held_out(word, *pair) for pair in pairs for word in ("who", "what")):
            break
    parts = [Part(" ".join(f"{name} has the {thing}." for name, thing in pairs), 0.0)]
    for at in rng.integers(0, n, SAID):
        good, (name, thing) = bool(rng.random() < 0.6), pairs[at]
        other = pairs[(at + int(rng.integers(1, n))) % n]
        if rng.random() < 0.5:
            asked, answer = f"Who has the {thing}?", (name if good else other[0])
        else:
            asked, answer = f"What does {name} have?", (thing if good else other[1])
        parts += [Part(asked, TOLD), Part(answer, float(good)), Part(str(good), 1.0)]
    return parts


STATEMENTS = {"sums": sums, "facts": facts, "events": events, "reviews": clauses}


def draw(rng: Generator) -> Text:
    """Some statements of one kind; what happened is followed by what is felt, too."""
    kind = tuple(VERDICTS)[int(rng.integers(len(VERDICTS)))]
    if kind == "told":
        return Text((Turn("text", tuple(told(rng))),), plain=True)
    parts = []
    for _ in range(SAID):
        good = bool(rng.random() < 0.5)
        parts += [*STATEMENTS[kind](rng, good), Part(VERDICTS[kind][1 - good], 1.0)]
        if kind == "events":
            felt = feelings.emotion(rng, 0.75 if good else -0.75, float(rng.uniform(-0.6, 0.8)))
            parts += [Part("I feel", TOLD), Part(felt, 1.0), Part(".", TOLD)]
    return Text((Turn("text", tuple(parts)),), plain=True)


def vocabulary() -> Iterator[str]:
    """The verdicts; all other words are other kinds'."""
    yield from (verdict for verdicts in VERDICTS.values() for verdict in verdicts)
