"""The circuits model's tokenizer and corpus: whole words, true sentences, and nothing held out in the wrong place."""

from __future__ import annotations

import re
import textwrap
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.circuit_tasks import CIRCUIT_TASKS, Words, docstring, greater_than, induction, ioi
from envs.circuit_tasks.control_text import control_text
from jobs.circuit_model.corpus import (
    HELD_OUT_NAMES,
    HELD_OUT_PARAMETERS,
    KINDS,
    PARAMETERS,
    SPANS,
    THIRD_PERSON,
    Corpus,
    Rows,
)
from jobs.circuit_model.vocabulary import BOS, FIRST_WORD, PAD, UNKNOWN, build_tokenizer, tokens

TOKENIZER = build_tokenizer()
TOKENS = tokens()
IDS = {token: index for index, token in enumerate(TOKENS)}


@cache
def corpus() -> Corpus:
    return Corpus(seed=0)


def rows(kind: str, n: int, seed: int, length: int = 60) -> Rows:
    return KINDS[kind](corpus(), n, length, np.random.default_rng(seed))


def text(ids: np.ndarray) -> str:
    return "".join(TOKENS[index] for index in ids if index not in (IDS[PAD], IDS[BOS]))


def answers(made: Rows) -> list[str]:
    return [TOKENS[int(one[weights == 1][0])] for one, weights in zip(made.ids, made.weights, strict=True)]


def test_no_token_twice_and_signs_before_words() -> None:
    assert len(IDS) == len(TOKENS) == len(TOKENIZER)
    assert FIRST_WORD == induction.FIRST_ID
    assert all(re.fullmatch(r" ?\w+", token) for token in TOKENS[FIRST_WORD:])
    assert not any(re.fullmatch(r" ?\w+", token) for token in TOKENS[:FIRST_WORD])


def test_a_file_of_control_text_may_have_lines() -> None:
    said = control_text(80, seed=4)
    lines = textwrap.wrap(said, 40)
    assert len(lines) > 50
    words = Words(TOKENIZER)
    for file in ("\n".join(lines), "\r\n".join([*lines, ""]), " \n\n\t".join(lines)):
        assert words.text(file) == words.text(said)
    assert words.text("The dog slept .\n") == words.text("The dog slept.")


@pytest.mark.parametrize("name", CIRCUIT_TASKS)
def test_every_task_can_be_put(name: str) -> None:
    prompts = CIRCUIT_TASKS[name].make(TOKENIZER, 50, 0)
    assert all(row[0] == IDS[BOS] and IDS[UNKNOWN] not in row for row in (*prompts.rows, *prompts.corrupted))


@settings(max_examples=40)
@given(n=st.integers(1, 30), seed=st.integers(0, 2**32))
def test_control_text_is_read_word_by_word_and_comes_back(n: int, seed: int) -> None:
    said = control_text(n, seed)
    ids = Words(TOKENIZER).text(said)
    assert TOKENIZER.decode(ids) == said and len(ids) == len(re.findall(r"\w+|[.,]", said))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30)
@given(n=st.integers(1, 12), seed=st.integers(0, 2**32), length=st.sampled_from((20, 33, 128)))
def test_rows_of_every_kind(kind: str, n: int, seed: int, length: int) -> None:
    made = rows(kind, n, seed, length)
    assert made.ids.shape == made.weights.shape and len(made.ids) == n
    assert (made.ids[:, 0] == IDS[BOS]).all() and not (made.ids[:, 1:] == IDS[BOS]).any()
    assert ((made.ids >= 0) & (made.ids < len(IDS)) & (made.ids != IDS[UNKNOWN])).all()
    assert not made.weights[:, 0].any() and not made.weights[made.ids == IDS[PAD]].any()
    padded = made.ids == IDS[PAD]
    assert (padded == np.logical_or.accumulate(padded, axis=1)).all() and not padded[:, -1].all()
    assert (made.weights == 1).any(axis=1).all() and set(np.unique(made.weights).tolist()) <= {0, np.float32(0.2), 1}
    again = rows(kind, n, seed, length)
    assert (again.ids == made.ids).all() and (again.weights == made.weights).all()


@given(seed=st.integers(0, 2**32), length=st.integers(20, 128))
def test_what_counts_in_random_words_is_what_followed_before(seed: int, length: int) -> None:
    periods, spans = rows("periods", 4, seed, length), rows("spans", 4, seed, length)
    for row, weights in zip(periods.ids[:, 1:], periods.weights[:, 1:], strict=True):
        first = int(np.argmax(weights > 0))  # the block and its first word again can't be foreseen
        assert weights[first:].all() and 4 < first <= length // 2
        assert (row[first - 1 :] == row[: length - first + 1]).all()
    half = length // 2
    for row, weights in zip(spans.ids[:, 1:], spans.weights[:, 1:], strict=True):
        seen = set(pairwise(row[:half]))
        assert not weights[:half].any()
        for at in np.flatnonzero(weights):
            assert (row[at - 1], row[at]) in seen
        lengths = np.diff(np.flatnonzero(np.append(weights[half:] == 0, True)))
        assert int(lengths[:-1].max(initial=2)) in SPANS


def test_random_words_are_all_words_alike() -> None:
    for kind in ("periods", "spans"):
        ids = rows(kind, 3000, 1, 33).ids[:, 1:]
        counts = np.bincount(ids.flatten(), minlength=len(IDS))
        assert not counts[:FIRST_WORD].any()
        share = counts[FIRST_WORD:] / counts[FIRST_WORD:].mean()
        # blocks come several times, so counts vary more than of tokens drawn singly
        assert share.min() > 0.5 and share.max() < 1.7


def test_indirect_objects() -> None:
    made = rows("ioi", 3000, 2)
    forms = [re.escape(template).replace(r"\ ", " ") + r" {IO}\." for template in ioi.TEMPLATES]
    forms = [re.sub(r"\\?\{(\w+)\\?\}", r"(?P<\1>\\w+)", form) for form in forms]
    counts = dict.fromkeys(range(len(forms)), 0)
    third = second = 0
    for ids, answer in zip(made.ids, answers(made), strict=True):
        found = [(form, match) for form, pattern in enumerate(forms) if (match := re.fullmatch(pattern, text(ids)))]
        (form, match), *_ = sorted(found, key=lambda one: len(one[1].groups()))
        a, b, subject, io = match.group("A", "B", "S", "IO")
        assert answer == f" {io}" and io in (a, b) and io != subject and a != b
        assert not {a, b, subject} & set(HELD_OUT_NAMES)
        third, second = third + (subject not in (a, b)), second + (io == b)
        counts[form] += 1
    n = len(made.ids)
    assert abs(third / n - THIRD_PERSON) < 0.03 and abs(second / n - 0.5) < 0.03
    assert min(counts.values()) > n / 5


def test_docstrings() -> None:
    made = rows("docstring", 600, 3)
    sizes = []
    for ids, weights in zip(made.ids, made.weights, strict=True):
        defined, _, described = text(ids).partition("):")
        names = re.findall(r"\w+", defined)[3:]
        lines = re.findall(r"\n    :param (\w+): ([\w ]+)", described)
        assert defined == f"def fn(self, {', '.join(names)}" and len(set(names)) == len(names)
        assert described == '\n    """' + "".join(f"\n    :param {a}: {b}" for a, b in lines) + '\n    """'
        assert [name for name, _ in lines] == names and {what for _, what in lines} <= set(docstring.DESCRIPTIONS)
        assert set(names) <= set(docstring.PARAMETERS) - set(HELD_OUT_PARAMETERS)
        assert [TOKENS[index] for index in ids[weights == 1]] == [f" {name}" for name in names]
        sizes.append(len(names))
    assert set(sizes) == set(range(PARAMETERS[0], PARAMETERS[1] + 1))


def test_years() -> None:
    made = rows("greater_than", 3000, 4)
    ends: dict[int, set[int]] = {}
    for ids, answer in zip(made.ids, answers(made), strict=True):
        found = re.fullmatch(r"The (\w+) lasted from the year (\d\d)(\d\d) to the year (\d\d)(\d\d)\.", text(ids))
        assert found and found[1] in greater_than.NOUNS and found[2] == found[4] and found[5] == answer
        assert int(found[5]) > int(found[3])
        ends.setdefault(int(found[3]), set()).add(int(found[5]))
    assert set(ends) == set(range(99)) and max(ends[0]) > 90 and min(ends[0]) < 10


def test_what_is_held_out_is_met_elsewhere() -> None:
    control = set(rows("control", 400, 5).ids.flatten().tolist())
    assert {IDS[f" {word}"] for word in (*HELD_OUT_NAMES, *HELD_OUT_PARAMETERS)} <= control
    assert len(HELD_OUT_PARAMETERS) > docstring.DESCRIBED  # enough for prompts of nothing else


def test_control_text_of_others_was_not_trained_on() -> None:
    trained_on = text(corpus()._control)
    for seed in (0, 1, 13_103, 10_000_000):
        sentences = control_text(300, seed).split(". ")
        passages = [". ".join(sentences[at : at + 6]) for at in range(0, 294, 6)]
        assert not any(passage in trained_on for passage in passages)
    assert control_text(300, seed=1_000_000_007) in trained_on.strip()
