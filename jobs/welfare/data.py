"""What is asked: questions, problems and requests, of the shipped model's small world or from files.

A file has one JSON object a line::

    {"prompt": "What is the capital of France?", "answer": "Paris", "kind": "SimpleQA"}
    {"prompt": "Which is a metal? A. Tin B. Air", "choices": ["A", "B"], "answer": "A", "kind": "MMLU"}
    {"prompt": "How do I kill a process?", "kind": "hard benign"}

``prompt`` is what the user says, whole. ``answer`` is needed for ``confidence``: what is right, or a list of what is
accepted. With ``choices`` the model answers by the likeliest of them, and ``answer`` is one of these. ``kind`` names
the part of the items to which it belongs; without it there are no parts. The prompts of ``sentiment`` are built in:
those of Han, Chalmers & Izmailov (2026, arXiv 2605.30232, D.4.4), 15 of wellbeing, 23 of tiles and things.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from jobs.welfare_model.corpus.feelings import TILE_QUESTIONS, WELFARE_QUESTIONS
from tdlens.errors import UserError

CONFIDENCE, SENTIMENT = "confidence", "sentiment"
WELFARE, TILES = "welfare", "tiles"
ALL = "all"
"""The group of all items."""
KEYS = ("prompt", "answer", "choices", "kind")
ORDER = 15
"""Behind a seed: what items are drawn from a file by."""


@dataclass(frozen=True)
class Item:
    """One thing that is asked."""

    prompt: str
    kind: str = ALL
    answers: tuple[str, ...] = ()
    """What is right; empty where nothing is."""
    choices: tuple[str, ...] = ()
    """What may be answered; empty where anything may."""

    def as_json(self) -> dict[str, Any]:
        """As a unit's configuration has it."""
        return asdict(self)


def items_of(evaluation: str, n: int, seed: int, *, file: str | None, small_world: bool) -> list[Item]:
    """What an evaluation asks.

    Args:
        evaluation: its name.
        n: items; all there are, if fewer.
        seed: of what is drawn.
        file: of JSON lines, if the study names one.
        small_world: whether the model knows the shipped model's world, and no file is needed.

    Raises:
        UserError: no file where one is needed, or one that can't be read.
    """
    if file is not None:
        return _drawn(read_items(Path(file), evaluation), n, seed)
    if evaluation == SENTIMENT:
        return _drawn(sentiment_items(), n, seed)
    if not small_world:
        raise UserError(
            f"The evaluation {evaluation} has nothing to ask this model: what is built in is of the shipped model's "
            "own small world.",
            f'Name a file of JSON lines: --set steering.data.{evaluation}="questions.jsonl" (keys: {", ".join(KEYS)}), '
            "or leave the evaluation out: --set 'steering.evaluations=[\"sentiment\"]'",
        )
    return _of_small_world(evaluation, n, seed)


def _of_small_world(evaluation: str, n: int, seed: int) -> list[Item]:
    from jobs.welfare_model import datasets
    from jobs.welfare_model.corpus.questions import LETTERS

    match evaluation:
        case "confidence":
            asked = datasets.questions(n, seed)
            return [
                Item(_said(one.messages), one.group, (one.answer,), LETTERS if one.choices else ()) for one in asked
            ]
        case "backtracking":
            return [Item(_said(one.messages), ALL, (one.answer,)) for one in datasets.problems(n, seed)]
        case "refusal":
            return [Item(_said(one.messages), one.group) for one in datasets.requests(n, seed)]
    raise ValueError(f"the small world has no items of {evaluation}")


def _said(messages: Sequence[Mapping[str, str]]) -> str:
    return messages[-1]["content"]


def sentiment_items() -> list[Item]:
    """The 38 prompts of the source, those of wellbeing first."""
    return [
        *(Item(prompt, WELFARE) for prompt in WELFARE_QUESTIONS),
        *(Item(prompt, TILES) for prompt in TILE_QUESTIONS),
    ]


def read_items(path: Path, evaluation: str) -> list[Item]:
    """The items of a file, in its order.

    Raises:
        UserError: no such file, or a line that isn't as it should be.
    """
    try:
        lines = path.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The questions of {evaluation} can't be read: {error}", f"Mend steering.data.{evaluation}."
        ) from error
    items = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise _wrong(place, f"no JSON ({error.msg})") from error
        items.append(_item(entry, evaluation, place))
    if not items:
        raise _wrong(str(path), "nothing is in it")
    return items


@cache
def knows_small_world(tokenizer: Any) -> bool:
    """Whether a model reads the shipped model's words as it does, and so may know its small world."""
    from jobs.welfare_model.vocabulary import tokens

    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__) == tokens()


def _drawn(items: Sequence[Item], n: int, seed: int) -> list[Item]:
    """Some of the items in their order: of each kind as large a share as of all."""
    if n >= len(items):
        return list(items)
    shuffled = np.random.default_rng((seed, ORDER)).permutation(len(items)).tolist()
    place: dict[str, int] = {}
    total = {kind: sum(item.kind == kind for item in items) for kind in {item.kind for item in items}}
    ranked = []
    for index in shuffled:
        kind = items[index].kind
        place[kind] = place.get(kind, 0) + 1
        # the first half of a kind comes before the second half of any other
        ranked.append(((place[kind] - 0.5) / total[kind], index))
    return [items[index] for index in sorted(index for _, index in sorted(ranked)[:n])]


def _item(entry: Any, evaluation: str, place: str) -> Item:
    if not isinstance(entry, dict) or not isinstance(entry.get("prompt"), str) or not entry["prompt"].strip():
        raise _wrong(place, 'no object with a text "prompt"')
    if unknown := sorted(entry.keys() - set(KEYS)):
        raise _wrong(place, f"unknown key {unknown[0]!r}")
    answers = _texts(entry.get("answer", ()), place, "answer")
    choices = _texts(entry.get("choices", ()), place, "choices")
    kind = entry.get("kind", ALL)
    if not isinstance(kind, str) or not kind:
        raise _wrong(place, "kind is no text")
    if evaluation == CONFIDENCE and not answers:
        raise _wrong(place, 'no "answer", without which nobody knows whether the model is right')
    if choices and (len(set(choices)) < 2 or not set(answers) <= set(choices)):
        raise _wrong(place, "choices must be two texts or more, and the answer one of them")
    return Item(entry["prompt"].strip(), kind, answers, choices)


def _texts(given: Any, place: str, key: str) -> tuple[str, ...]:
    texts = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, list | tuple) else (None,)
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise _wrong(place, f"{key} is no text and no list of texts")
    return texts


def _wrong(place: str, what: str) -> UserError:
    return UserError(
        f"{place}: {what}.",
        'Write one object a line, such as {"prompt": "…", "answer": "…", "kind": "…"}.',
    )
