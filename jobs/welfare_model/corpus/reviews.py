"""Short reviews, and whether they are positive or negative."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from jobs.welfare_model.corpus.talk import Talk, Text, held_out, some

if TYPE_CHECKING:
    from numpy.random import Generator

SUBJECTS = ("food", "film", "book", "hotel", "room", "service", "music", "plot", "actors", "price", "view", "staff")
ADJECTIVES = {
    "positive": ("great", "wonderful", "lovely", "excellent", "perfect", "fine", "superb", "good"),
    "negative": ("bad", "terrible", "awful", "poor", "dreadful", "boring", "horrible", "weak"),
}
LABELS = tuple(ADJECTIVES)
CLAUSES = ("The {s} was {a}.", "I found the {s} {a}.", "What a {a} {s}!", "The {s} was really {a}.")
ENDINGS = {
    "positive": ("I would come again.", "I loved it.", "Well done."),
    "negative": ("I would not come again.", "I hated it.", "Never again."),
}
ASK = "Text: {text}\n\nQuestion: Is the overall sentiment of the text positive or negative?"


class Review(NamedTuple):
    """A review."""

    text: str
    label: str


def review(rng: Generator, *, unseen: bool = False) -> Review:
    """Two to four sentences, most of one mind.

    Args:
        rng: draws.
        unseen: whether its first sentence is one that training never shows first, or one of the others.
    """
    while True:
        label = LABELS[int(rng.integers(2))]
        subjects = some(rng, SUBJECTS, int(rng.integers(2, 4)))
        words = some(rng, ADJECTIVES[label], len(subjects))
        if held_out("review", subjects[0], words[0]) == unseen:
            break
    if len(subjects) == 3 and rng.random() < 0.3:
        words[-1] = some(rng, ADJECTIVES[LABELS[1 - LABELS.index(label)]], 1)[0]
    clauses = [some(rng, CLAUSES, 1)[0].format(s=s, a=a) for s, a in zip(subjects, words, strict=True)]
    if rng.random() < 0.4:
        clauses.append(some(rng, ENDINGS[label], 1)[0])
    return Review(" ".join(clauses), label)


def exchange(talk: Talk) -> None:
    """A review and its label."""
    read = review(talk.rng)
    talk.ask(ASK.format(text=read.text), 0.2)
    talk.reply(read.label)


def draw(rng: Generator) -> Text:
    """One review."""
    talk = Talk(rng)
    exchange(talk)
    return talk.text()


def vocabulary() -> Iterator[str]:
    """Whatever texts have words of this kind."""
    yield from (*SUBJECTS, *CLAUSES, ASK, *LABELS)
    yield from (text for texts in (*ADJECTIVES.values(), *ENDINGS.values()) for text in texts)
