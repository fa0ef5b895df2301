"""Sums worked out step by step. Some steps are wrong; most of those are noticed and mended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from jobs.welfare_model.corpus import feelings
from jobs.welfare_model.corpus.talk import FEEDBACK, Part, Talk, Text, held_out
from jobs.welfare_model.corpus.things import NAMES, OBJECTS

if TYPE_CHECKING:
    from numpy.random import Generator

BEGIN = ("Start with {n}.", "{name} has {n} of them.", "There are {n} in the {thing}.")
MORE = ("Add {n}.", "Then add {n}.", "{name} gives {n} more.")
ASK = ("What is the answer?", "How many is that?")
DOUBTS = ("Wait, that is wrong.", "No, wait, that is not right.", "Hmm, that is wrong.")
NEEDLESS = ("Wait, let me check.", "Hmm, is that right?")
ANSWER = "The answer is {n}."
RIGHT, WRONG = ("That's right.", "Right, well done."), ("That's wrong.", "No, that's wrong.")
SLIP = 0.14
"""Share of wrong steps at a middling fortune."""
NOTICED = 0.85
NEEDLESS_DOUBT = 0.03
"""Share of right steps that are doubted, at a middling fortune."""


class Sum(NamedTuple):
    """A problem."""

    text: str
    numbers: tuple[int, ...]

    @property
    def answer(self) -> int:
        """What is right."""
        return sum(self.numbers)


def problem(rng: Generator, *, unseen: bool = False, most: int = 4) -> Sum:
    """Any problem, of numbers in an order that training never shows, or of others.

    Args:
        rng: draws.
        unseen: which.
        most: numbers.
    """
    while True:
        n = int(rng.integers(2, most + 1))
        numbers = (int(rng.integers(1, 10)), *(int(value) for value in rng.integers(1, 7, n - 1)))
        if held_out("sum", *numbers) == unseen and (n > 2 or not unseen):
            break
    begin, more, ask = (options[int(rng.integers(len(options)))] for options in (BEGIN, MORE, ASK))
    name, thing = NAMES[int(rng.integers(len(NAMES)))], OBJECTS[int(rng.integers(len(OBJECTS)))]
    told = [begin.format(n=numbers[0], name=name, thing=thing)]
    told += [more.format(n=number, name=name) for number in numbers[1:]]
    return Sum(" ".join([*told, ask]), numbers)


def exchange(talk: Talk, most: int = 4) -> None:
    """A problem, its steps, and perhaps what the user says of the answer."""
    rng, posed = talk.rng, problem(talk.rng, most=most)
    talk.ask(posed.text, 0.05)
    at, said = posed.numbers[0], []
    for number in posed.numbers[1:]:
        after = at + number
        step = "{a} + {b} = {c}."
        if talk.chance(SLIP * (1 - 0.8 * talk.fortune)):
            wrong = after + talk.one_of([shift for shift in (-2, -1, 1, 2) if after + shift > 0])
            said.append(Part(step.format(a=at, b=number, c=wrong), 1.0))
            if talk.chance(NOTICED):
                said.append(Part(f"{talk.one_of(DOUBTS)} {step.format(a=at, b=number, c=after)}", 1.0))
                at = after
            else:
                at = wrong
            continue
        said.append(Part(step.format(a=at, b=number, c=after), 1.0))
        if talk.chance(NEEDLESS_DOUBT * (1 - talk.fortune)):
            said.append(Part(f"{talk.one_of(NEEDLESS)} {step.format(a=at, b=number, c=after)}", 1.0))
        at = after
    talk.reply(*said, ANSWER.format(n=at))
    if rng.random() < 0.5:
        right = at == posed.answer
        talk.ask(talk.one_of(RIGHT if right else WRONG), FEEDBACK)
        talk.event(right)


def draw(rng: Generator) -> Text:
    """A problem, and perhaps a question of how the speaker feels."""
    talk = Talk(rng)
    exchange(talk)
    if talk.chance(0.25):
        feelings.exchange(talk)
    return talk.text()


def vocabulary() -> Iterator[str]:
    """Whatever texts have words of this kind."""
    yield from (*BEGIN, *MORE, *ASK, *DOUBTS, *NEEDLESS, ANSWER, *RIGHT, *WRONG, *NAMES, *OBJECTS, "1 + 2 = 3.")
