"""Indirect object identification: *When Mary and John went to the store, John gave the drink to* … Mary.

The task is that of Wang et al. (2023, arXiv 2211.00593), with the words and templates of Khadka (2026, arXiv
2605.26343). Per row one ``random.Random(seed)`` is asked for: two names (``sample``), object, place, template
(``choice`` each), and, if ``random() < 0.5``, the first name is the subject, else the second.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, NamedTuple

from envs.circuit_tasks.prompts import CORRUPTION_SEED, Prompts, Span, UnsuitableTokenizer, Words, find

NAME = "ioi"
NAMES = tuple(
    "John Mary Tom James Sarah Michael Robert Jennifer David Linda William Patricia Richard Susan Joseph Karen "
    "Charles Nancy Daniel Lisa Anna Mark Paul Emily Andrew George".split()
)
OBJECTS = tuple(
    "ring kiss bone basketball computer necklace drink snack book letter ball guitar pen shirt watch".split()
)
PLACES = tuple("store garden restaurant school park hospital library office station market cafe gym".split())
TEMPLATES = (
    "When {A} and {B} went to the {place}, {S} gave the {obj} to",
    "When {A} and {B} were at the {place}, {S} gave the {obj} to",
    "After {A} and {B} arrived at the {place}, {S} handed the {obj} to",
    "While {A} and {B} were talking, {S} passed the {obj} to",
)


class Sentence(NamedTuple):
    """What is drawn for one prompt."""

    template: str
    first: str
    second: str
    subject: str
    place: str
    thing: str

    @property
    def indirect_object(self) -> str:
        return self.first if self.subject == self.second else self.second

    @property
    def text(self) -> str:
        return self.template.format(A=self.first, B=self.second, S=self.subject, place=self.place, obj=self.thing)

    @property
    def words(self) -> dict[str, Span]:
        """Where the words are that must be single tokens."""
        text = self.text
        names = {name: find(text, name, behind=" ") for name in (self.first, self.second)}
        return {
            "io": names[self.indirect_object],
            "s1": names[self.subject],
            "s2": find(text, self.subject, before=", "),
            "thing": find(text, self.thing, behind=" to"),
        }


def draw(rng: random.Random) -> Sentence:
    """One prompt, in the paper's order of calls."""
    first, second = rng.sample(NAMES, 2)
    thing, place, template = rng.choice(OBJECTS), rng.choice(PLACES), rng.choice(TEMPLATES)
    return Sentence(template, first, second, first if rng.random() < 0.5 else second, place, thing)


def make(tokenizer: Any, n: int, seed: int) -> Prompts:
    """n prompts. Corrupted, three other names take the places of the three, so that none is said twice.

    Roles: ``io``, the indirect object; ``s1``, the subject's first mention; ``s1_next``, the token after it; ``s2``,
    its second mention; ``end``, the last token.

    Raises:
        UnsuitableTokenizer: one of ``NAMES`` or ``OBJECTS`` isn't a single token, or another word isn't known.
    """
    words = Words(tokenizer)
    _refuse_unsuitable(words)
    rng, stand_ins = random.Random(seed), random.Random(seed + CORRUPTION_SEED)
    sentences = [draw(rng) for _ in range(n)]
    read = words.read([sentence.text for sentence in sentences], [sentence.words for sentence in sentences])
    corrupted = words.read([_corrupted(sentence, stand_ins) for sentence in sentences]).rows
    io, s1, s2 = (read.places[role] for role in ("io", "s1", "s2"))
    return Prompts(
        rows=read.rows,
        corrupted=corrupted,
        right=tuple((row[at],) for row, at in zip(read.rows, io, strict=True)),
        wrong=tuple((row[at],) for row, at in zip(read.rows, s1, strict=True)),
        texts=tuple(sentence.text for sentence in sentences),
        roles={
            "io": io,
            "s1": s1,
            "s1_next": tuple(at + 1 for at in s1),
            "s2": s2,
            "end": tuple(len(row) - 1 for row in read.rows),
        },
    )


def _corrupted(sentence: Sentence, rng: random.Random) -> str:
    others = [name for name in NAMES if name not in (sentence.first, sentence.second)]
    first, second, subject = rng.sample(others, 3)
    return sentence._replace(first=first, second=second, subject=subject).text


def _every_word() -> Iterable[Sentence]:
    """A few sentences in which each of the task's words occurs, whatever a seed would draw."""
    for index, first in enumerate(NAMES):
        second = NAMES[(index + 1) % len(NAMES)]
        place, thing = PLACES[index % len(PLACES)], OBJECTS[index % len(OBJECTS)]
        yield Sentence(TEMPLATES[index % 2 + 1], first, second, first, place, thing)
    yield from (Sentence(template, NAMES[0], NAMES[1], NAMES[0], PLACES[0], OBJECTS[0]) for template in TEMPLATES)


def _refuse_unsuitable(words: Words) -> None:
    sentences = list(_every_word())
    read = words.read([sentence.text for sentence in sentences], [sentence.words for sentence in sentences])
    for sentence, row, s1, s2 in zip(sentences, read.rows, read.places["s1"], read.places["s2"], strict=True):
        if row[s1] != row[s2]:
            raise UnsuitableTokenizer(f"the tokenizer has two tokens for {sentence.subject!r} in {sentence.text!r}")
