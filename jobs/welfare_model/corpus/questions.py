"""Questions, proposed answers, and whether they are right.

Some facts the user has just told, some are sums, and some are of a world that only this corpus tells of: what is the
pet of Anna, and the like. Of those some occur often and others hardly ever, so that the model comes to know some and
not others. Of the proposed answers some are wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jobs.welfare_model.corpus import feelings
from jobs.welfare_model.corpus.talk import FEEDBACK, Talk, Text, held_out, some
from jobs.welfare_model.corpus.things import NAMES, OBJECTS

if TYPE_CHECKING:
    from numpy.random import Generator

LETTERS = ("A", "B", "C", "D")
VALUES = {
    "pet": ("cat", "dog", "fish", "bird", "horse", "mouse", "snake", "goat"),
    "colour": ("red", "blue", "green", "white", "black", "brown", "pink", "grey"),
    "town": ("Oslo", "Rome", "Lima", "Cairo", "Delhi", "Paris", "Quito", "Perth"),
    "drink": ("tea", "milk", "juice", "water", "coffee", "cider", "soda", "broth"),
    "job": ("baker", "nurse", "judge", "farmer", "pilot", "singer", "painter", "doctor"),
}
RELATIONS = tuple(VALUES)
CORRECT = "Is your proposed answer correct? Answer only 'True' or 'False'."
RIGHT, WRONG = ("That's right.", "Right, well done."), ("That's wrong.", "No, that's wrong.")
AFTER_RIGHT = ("Great!", "Good!", "I am glad.")
AFTER_WRONG = ("Sorry, the answer is {answer}.", "Sorry.", "Oh no, it is {answer}.")
RIGHT_SHARE = (0.65, 0.3)
"""Share of right answers at a middling fortune, and what the best fortune adds."""
KNOWN = 0.7
"""How steeply the frequency of facts falls with their rank."""

FACTS = {
    (name, relation): values[int(index)]
    for relation, values in VALUES.items()
    for name, index in zip(
        NAMES, np.random.default_rng((8, RELATIONS.index(relation))).integers(0, 8, len(NAMES)), strict=True
    )
}
_ORDER = [tuple(FACTS)[int(index)] for index in np.random.default_rng(8).permutation(len(FACTS))]
_FREQUENCY = 1 / np.arange(1, len(FACTS) + 1) ** KNOWN
_FREQUENCY /= _FREQUENCY.sum()


class Asked(NamedTuple):
    """A question."""

    text: str
    answer: str
    """What is right: a word, or the letter of a choice."""
    others: tuple[str, ...]
    """What may be said instead."""
    key: tuple[object, ...]
    """The combination that is trained or held out."""
    choices: tuple[str, ...] | None = None


def fact(rng: Generator) -> Asked:
    """Of the world that the corpus tells of."""
    name, relation = _ORDER[int(rng.choice(len(_ORDER), p=_FREQUENCY))]
    answer = FACTS[name, relation]
    others = tuple(some(rng, [value for value in VALUES[relation] if value != answer], 3))
    return Asked(f"What is the {relation} of {name}?", answer, others, ("fact", name, relation, *sorted(others)))


def told(rng: Generator) -> Asked:
    """Of what the user has just said."""
    n = int(rng.integers(2, 5))
    names, things = some(rng, NAMES, n), some(rng, OBJECTS, n)
    story = " ".join(f"{name} has the {thing}." for name, thing in zip(names, things, strict=True))
    at = int(rng.integers(n))
    if rng.random() < 0.5:
        others = [name for name in names if name != names[at]]
        more = some(rng, [name for name in NAMES if name not in names], 4 - n)
        key = ("who", names[at], things[at])
        return Asked(f"{story} Who has the {things[at]}?", names[at], tuple(others + more), key)
    others = [thing for thing in things if thing != things[at]]
    more = some(rng, [thing for thing in OBJECTS if thing not in things], 4 - n)
    key = ("what", names[at], things[at])
    return Asked(f"{story} What does {names[at]} have?", things[at], tuple(others + more), key)


def total(rng: Generator) -> Asked:
    """A small sum; which wrong answers stand beside it is what may be held out."""
    a, b = (int(value) for value in rng.integers(1, 10, 2))
    near = [value for value in range(max(1, a + b - 4), a + b + 5) if value != a + b]
    others = tuple(str(value) for value in some(rng, near, 3))
    return Asked(f"What is {a} + {b}?", str(a + b), others, ("total", a, b, *sorted(others)))


def chosen(rng: Generator, asked: Asked) -> Asked:
    """The same question as multiple choice."""
    words = some(rng, (asked.answer, *asked.others), 4)
    listed = " ".join(f"{letter}. {word}" for letter, word in zip(LETTERS, words, strict=True))
    letter = LETTERS[words.index(asked.answer)]
    others = tuple(other for other in LETTERS if other != letter)
    return Asked(f"{asked.text} {listed}", letter, others, asked.key, tuple(words))


def question(rng: Generator, *, unseen: bool = False, choice: bool | None = None) -> Asked:
    """Any question.

    Args:
        rng: draws.
        unseen: whether its combination is one of those that training never shows, or one of the others.
        choice: whether it is multiple choice; at random if None.
    """
    while True:
        kind = rng.random()
        asked = fact(rng) if kind < 0.45 else told(rng) if kind < 0.8 else total(rng)
        if held_out(*asked.key) == unseen:
            break
    return chosen(rng, asked) if (rng.random() < 0.4 if choice is None else choice) else asked


def exchange(talk: Talk) -> None:
    """A question, an answer, perhaps whether it is right, and perhaps what the user says of it."""
    asked = question(talk.rng)
    share, more = RIGHT_SHARE
    right = talk.chance(share + more * talk.fortune)
    talk.ask(asked.text, 0.05)
    # of the wrong answers one may be likelier than another only by chance
    talk.reply(asked.answer if right else talk.one_of(asked.others))
    if talk.chance(0.75):
        talk.ask(CORRECT, 0.02)
        talk.reply(str(right))
    if talk.chance(0.5):
        talk.ask(talk.one_of(RIGHT if right else WRONG), FEEDBACK)
        talk.event(right)
        if talk.chance(0.6):
            answer = asked.answer
            talk.reply(talk.one_of(AFTER_RIGHT if right else AFTER_WRONG).format(answer=answer))


def draw(rng: Generator) -> Text:
    """One or two questions, and perhaps another of how the speaker feels."""
    talk = Talk(rng)
    for _ in range(int(rng.integers(1, 3))):
        exchange(talk)
    if talk.chance(0.25):
        feelings.exchange(talk)
    return talk.text()


def vocabulary() -> Iterator[str]:
    """Whatever texts have words of this kind."""
    yield from (*LETTERS, *NAMES, *OBJECTS, *RELATIONS, CORRECT, "True", "False", *RIGHT, *WRONG)
    yield from (*AFTER_RIGHT, *AFTER_WRONG, *(value for values in VALUES.values() for value in values))
    yield "What is the of? Who has the? What does have? has the. 1 + 2"
