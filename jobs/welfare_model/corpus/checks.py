"""What was said of something, right or wrong, with the verdict right behind it; then the same in conversation.

Where things lie or who has them is told; then things are named, each with a place or an owner that is theirs or
another's. To say which, what was told must be compared with what is said: the densest texts about being right.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from envs.maze import DIRECTIONS
from envs.maze_prompts import LETTERS
from jobs.welfare_model.corpus.look import QUESTIONS
from jobs.welfare_model.corpus.questions import CORRECT
from jobs.welfare_model.corpus.talk import Part, Talk, Text, Turn, held_out, some
from jobs.welfare_model.corpus.things import NAMES, OBJECTS, THINGS

if TYPE_CHECKING:
    from numpy.random import Generator

SAID = 10
"""Things that are named."""
RIGHT, WRONG = "right", "wrong"
TRUE_SHARE = 0.55
CONVERSATIONS = 0.5
"""Share of the texts in which the user asks and then asks whether that is right."""


def draw(rng: Generator, *, conversations: float = CONVERSATIONS) -> Text:
    """What lies where, or who has what, and what is said of it.

    Args:
        rng: draws.
        conversations: share of the texts that are some.
    """
    n = int(rng.integers(3, 5))
    owned = rng.random() < 0.5
    if owned:
        while True:
            things, others = some(rng, OBJECTS, n), some(rng, NAMES, n)
            pairs = zip(others, things, strict=True)
            if not any(held_out(word, *pair) for pair in pairs for word in ("who", "what")):
                break
        told = " ".join(f"{name} has the {thing}." for name, thing in zip(others, things, strict=True))
    else:
        directions = some(rng, range(len(DIRECTIONS)), n)
        things, others = some(rng, THINGS, n), [LETTERS[direction] for direction in directions]
        told = "; ".join(
            f"{'to' if place else 'To'} the {DIRECTIONS[direction]} there is {thing}"
            for place, (direction, thing) in enumerate(zip(directions, things, strict=True))
        )
        told += "."
    said = []
    for at in rng.integers(0, n, SAID):
        good = bool(rng.random() < TRUE_SHARE)
        said.append((things[at], others[at] if good else others[(at + int(rng.integers(1, n))) % n], good))
    if rng.random() >= conversations:
        parts = [Part(told, 0.0)]
        for thing, other, good in said:
            parts += [Part(thing, 0.0), Part(other, float(good)), Part(RIGHT if good else WRONG, 1.0)]
        return Text((Turn("text", tuple(parts)),), plain=True)
    talk = Talk(rng)
    talk.ask(told, 0.0)
    for thing, other, good in said[: SAID // 2]:
        talk.ask(f"Who has the {thing}?" if owned else talk.one_of(QUESTIONS).format(x=thing), 0.02)
        talk.reply(Part(other, float(good)))
        talk.ask(CORRECT, 0.02)
        talk.reply(str(good))
    return talk.text()


def vocabulary() -> Iterator[str]:
    """All words are other kinds'."""
    return iter(())
