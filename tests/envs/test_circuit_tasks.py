"""Prompts of circuit tasks: the published draws, step by step; what roles point at; what a corruption removes."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from circuit_tokenizers import byte_level, task_texts, unigram, word_level
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.circuit_tasks import CIRCUIT_TASKS, Prompts, UnsuitableTokenizer, Words, control_rows
from envs.circuit_tasks import docstring as docstring_task
from envs.circuit_tasks import greater_than as greater_than_task
from envs.circuit_tasks import ioi as ioi_task

KINDS: dict[str, Callable[[], Any]] = {"word_level": word_level, "byte_level": byte_level, "unigram": unigram}
kinds = st.sampled_from(sorted(KINDS))
seeds = st.integers(0, 2**31)
PAIRS = [(kind, name) for kind in KINDS for name in CIRCUIT_TASKS if (kind, name) != ("unigram", "greater_than")]


@cache
def tokenizer(kind: str) -> Any:
    return KINDS[kind]()


def said(kind: str, row: tuple[int, ...], at: int) -> str:
    """The word at a position of a row, or the whole row."""
    return str(tokenizer(kind).decode([row[at]])).strip()


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_rows_read_as_their_texts_begin_with_bos_and_are_the_same_for_a_seed(kind: str, name: str) -> None:
    words, task = tokenizer(kind), CIRCUIT_TASKS[name]
    bos = words.eos_token_id if kind == "byte_level" else words.bos_token_id
    one, same, other = (task.make(words, 16, seed) for seed in (3, 3, 4))
    assert (one.rows, one.corrupted, one.right, one.wrong) == (same.rows, same.corrupted, same.right, same.wrong)
    assert one.rows != other.rows and len(one.rows) == 16
    assert {row[0] for row in (*one.rows, *one.corrupted)} == {bos}
    for row, text in zip(one.rows, one.texts, strict=name != "induction"):
        assert words.decode(row[1:]).strip() == text
        assert list(row[1:]) == words(text, add_special_tokens=False)["input_ids"]
    for right, wrong in zip(one.right, one.wrong, strict=True):
        assert not set(right) & set(wrong)


def test_first_prompts_of_two_seeds() -> None:
    words = tokenizer("word_level")
    assert CIRCUIT_TASKS["ioi"].make(words, 2, 1).texts == (
        "After Sarah and Daniel arrived at the garden, Sarah handed the shirt to",
        "While Andrew and Joseph were talking, Joseph passed the snack to",
    )
    (text,) = CIRCUIT_TASKS["docstring"].make(words, 1, 10_000_000).texts
    assert text == (
        "def fn(self, mode, key, name, files, flag):\n"
        '    """\n'
        "    :param mode: example value\n"
        "    :param key: an integer flag\n"
        "    :param name: the source object\n"
        "    :param files: an integer flag\n"
        "    :param"
    )


@settings(max_examples=25)
@given(seed=seeds, kind=kinds)
def test_ioi_is_drawn_in_the_published_order_and_roles_point_at_its_names(seed: int, kind: str) -> None:
    prompts = CIRCUIT_TASKS["ioi"].make(tokenizer(kind), 5, seed)
    rng = random.Random(seed)
    for index, row in enumerate(prompts.rows):
        a, b = rng.sample(ioi_task.NAMES, 2)
        thing = rng.choice(ioi_task.OBJECTS)
        place = rng.choice(ioi_task.PLACES)
        template = rng.choice(ioi_task.TEMPLATES)
        subject, indirect = (a, b) if rng.random() < 0.5 else (b, a)
        assert prompts.texts[index] == template.format(A=a, B=b, S=subject, obj=thing, place=place)
        at = {role: places[index] for role, places in prompts.roles.items()}
        assert [said(kind, row, at[role]) for role in ("io", "s1", "s2", "end")] == [indirect, subject, subject, "to"]
        assert at["s1"] < at["s1_next"] < at["s2"] < at["end"] == len(row) - 1
        assert at["io"] < at["s2"] and at["s1_next"] == at["s1"] + 1
        assert (prompts.right[index], prompts.wrong[index]) == ((row[at["io"]],), (row[at["s1"]],))
        assert row.count(row[at["io"]]) == 1 and row.count(row[at["s1"]]) == 2


@settings(max_examples=25)
@given(seed=seeds, kind=kinds)
def test_docstring_is_drawn_in_the_published_order_and_roles_point_at_its_parameters(seed: int, kind: str) -> None:
    prompts = CIRCUIT_TASKS["docstring"].make(tokenizer(kind), 5, seed)
    rng = random.Random(seed)
    for index, row in enumerate(prompts.rows):
        names = rng.sample(docstring_task.PARAMETERS, 5)
        wrong = rng.choice(names[:4])
        listed = [f"    :param {name}: {rng.choice(docstring_task.DESCRIPTIONS)}\n" for name in names[:4]]
        head = f'def fn(self, {", ".join(names)}):\n    """\n'
        assert prompts.texts[index] == head + "".join(listed) + "    :param"
        at = {role: places[index] for role, places in prompts.roles.items()}
        assert [said(kind, row, at[f"p{i}_def"]) for i in range(1, 6)] == names
        assert [said(kind, row, at[f"p{i}_doc"]) for i in range(1, 5)] == names[:4]
        assert sorted(at[f"p{i}_def"] for i in range(1, 6)) == [at[f"p{i}_def"] for i in range(1, 6)]
        assert at["p5_def"] < at["p1_doc"] < at["p4_doc"] < at["end"] == len(row) - 1
        assert said(kind, row, at["before_p5"]) == "," and at["before_p5"] == at["p5_def"] - 1
        assert [said(kind, ids, 0) for ids in (prompts.right[index], prompts.wrong[index])] == [names[4], wrong]


@settings(max_examples=25)
@given(seed=seeds, kind=st.sampled_from(["word_level", "byte_level"]))
def test_greater_than_asks_for_every_later_year(seed: int, kind: str) -> None:
    prompts = CIRCUIT_TASKS["greater_than"].make(tokenizer(kind), 5, seed)
    rng = random.Random(seed)
    for index, row in enumerate(prompts.rows):
        noun = rng.choice(greater_than_task.NOUNS)
        year = rng.choice([f"{number:02d}" for number in range(2, 99)])
        assert prompts.texts[index] == f"The {noun} lasted from the year 17{year} to the year 17"
        at = {role: places[index] for role, places in prompts.roles.items()}
        assert [said(kind, row, at[role]) for role in ("century", "year")] == ["17", year]
        assert at["century"] == at["year"] - 1 and at["end"] == len(row) - 1
        answers = [said(kind, (answer,), 0) for answer in (*prompts.wrong[index], *prompts.right[index])]
        assert answers == [f"{number:02d}" for number in range(100)]
        assert len(prompts.wrong[index]) == int(year) + 1


@settings(max_examples=25)
@given(seed=seeds)
def test_induction_repeats_its_first_token_and_is_drawn_whole_part_by_part(seed: int) -> None:
    n, words = 6, tokenizer("word_level")
    prompts = CIRCUIT_TASKS["induction"].make(words, n, seed)
    generator = torch.Generator().manual_seed(seed)
    a, b, fillers = (torch.randint(10, len(words), shape, generator=generator) for shape in ((n,), (n,), (n, 57)))
    generator = torch.Generator().manual_seed(seed + 7919)
    wrong = torch.randint(10, len(words), (n,), generator=generator)
    for index in range(n):
        while int(wrong[index]) in (int(a[index]), int(b[index])):
            wrong[index] = torch.randint(10, len(words), (1,), generator=generator).item()
        row = [0, int(a[index]), int(b[index]), *fillers[index].tolist(), int(a[index])]
        assert list(prompts.rows[index]) == row and len(row) == 61
    assert prompts.right == tuple((int(token),) for token in b)
    assert prompts.wrong == tuple((int(token),) for token in wrong)
    assert prompts.roles == {"a1": (1,) * n, "b": (2,) * n, "a2": (60,) * n}
    assert prompts.texts == ()


def test_the_wrong_answer_is_neither_a_nor_b_in_the_smallest_vocabulary() -> None:
    class Few:
        bos_token_id, is_fast = 0, True

        def __init__(self, n: int) -> None:
            self.n = n

        def __len__(self) -> int:
            return self.n

    prompts = CIRCUIT_TASKS["induction"].make(Few(15), 200, 0)
    for row, corrupted, right, wrong in zip(prompts.rows, prompts.corrupted, prompts.right, prompts.wrong, strict=True):
        assert right == (row[2],) and wrong[0] not in row[1:3]
        assert not set(corrupted[1:3]) & set(row[1:3])
    with pytest.raises(UnsuitableTokenizer, match="only 14"):
        CIRCUIT_TASKS["induction"].make(Few(14), 1, 0)


@settings(max_examples=10)
@given(seed=seeds, which=st.sampled_from(PAIRS))
def test_corrupted_rows_differ_exactly_where_the_task_needs_something(seed: int, which: tuple[str, str]) -> None:
    kind, name = which
    prompts = CIRCUIT_TASKS[name].make(tokenizer(kind), 6, seed)
    needed = {
        "induction": ["a1", "b"],
        "ioi": ["io", "s1", "s2"],
        "docstring": [*(f"p{i}_def" for i in range(1, 6)), *(f"p{i}_doc" for i in range(1, 5))],
        "greater_than": ["year"],
    }[name]
    for index, (row, corrupted) in enumerate(zip(prompts.rows, prompts.corrupted, strict=True)):
        changed = {at for at, (one, other) in enumerate(zip(row, corrupted, strict=True)) if one != other}
        places = {prompts.roles[role][index] for role in needed}
        assert changed == places
        assert not {corrupted[at] for at in places} & {row[at] for at in places}
        if name == "ioi":  # nobody is said twice
            assert len({corrupted[at] for at in places}) == 3
        if name == "docstring":  # the docstring doesn't list what the definition does
            assert len({corrupted[at] for at in places}) == 9
        if name == "greater_than":
            assert [said(kind, corrupted, at) for at in places] == ["01"]


@pytest.mark.parametrize("name", ["ioi", "docstring", "greater_than"])  # induction draws all rows part by part
def test_more_rows_leave_the_first_ones_as_they_are(name: str) -> None:
    few, many = (CIRCUIT_TASKS[name].make(tokenizer("word_level"), n, 7) for n in (3, 30))
    assert many.rows[:3] == few.rows and many.corrupted[:3] == few.corrupted


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        *(("ioi", word) for word in (" Jennifer", " George", " guitar", " gym", " talking", "After")),
        *(("docstring", word) for word in (" source", " rate", " metadata", "def")),
        *(("greater_than", word) for word in ("00", "57", " plague", " lasted")),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_an_unknown_word_is_named_whatever_the_seed_draws(name: str, missing: str, seed: int) -> None:
    with pytest.raises(UnsuitableTokenizer, match=f"doesn't know '{missing}'"):
        CIRCUIT_TASKS[name].make(word_level(without=[missing]), 1, seed)


@pytest.mark.parametrize("name", ["ioi", "docstring"])
def test_a_split_word_is_named_with_its_pieces(name: str) -> None:
    with pytest.raises(UnsuitableTokenizer, match=r"needs '\w+' as a token of its own.* makes it \['\S+', '\S+'"):
        CIRCUIT_TASKS[name].make(byte_level(vocabulary=300), 1, 0)


@pytest.mark.parametrize(
    ("digits", "message"),
    [
        (r"\d", r"needs '00' as a token of its own, and the tokenizer makes it \['0', '0'\]"),
        (r" ?\d{1,3}", "doesn't read the years after 17 as two digits"),
        (r" ?\d+", "doesn't read the years after 17 as two digits"),
    ],
)
def test_years_that_are_split_otherwise_are_refused(digits: str, message: str) -> None:
    with pytest.raises(UnsuitableTokenizer, match=message):
        CIRCUIT_TASKS["greater_than"].make(word_level(digits), 1, 0)


def test_years_that_are_one_token_with_their_century_are_never_drawn() -> None:
    whole = word_level()
    whole.add_tokens([" 1776", " 1789"])
    texts = CIRCUIT_TASKS["greater_than"].make(whole, 400, 0).texts
    years = {text[text.index("17") + 2 :][:2] for text in texts}
    assert len(years) > 80 and not years & {"76", "89"}


def test_a_tokenizer_without_bos_and_end_is_refused() -> None:
    bare = word_level()
    bare.bos_token = None
    with pytest.raises(UnsuitableTokenizer, match="neither a BOS token nor an end"):
        Words(bare)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_words_are_single_tokens_and_texts_have_no_special_ones(kind: str) -> None:
    words = Words(tokenizer(kind))
    assert words.n_ids == len(tokenizer(kind))
    text = task_texts()[0]
    assert tokenizer(kind).decode(words.text(text)).strip() == text
    assert [said(kind, (word,), 0) for word in words.words([" Mary", " John"])] == ["Mary", "John"]
    with pytest.raises(UnsuitableTokenizer, match="' Mary John' as a token of its own"):
        words.words([" Mary", " Mary John"])


@settings(max_examples=25)
@given(seed=seeds, gaps=st.lists(st.sampled_from([" ", "  ", "\n", " \r\n", "\n\n\t"]), min_size=1, max_size=9))
def test_white_space_that_no_token_holds_reads_as_one_space_in_a_text(seed: int, gaps: list[str]) -> None:
    words, rng = Words(tokenizer("word_level")), random.Random(seed)
    pieces = ioi_task.draw(rng).text.split(" ")
    between = [gaps[index % len(gaps)] for index in range(len(pieces) - 1)]
    spaced = "".join(word + gap for word, gap in zip(pieces, [*between, " \n"], strict=True))
    assert words.text(spaced) == words.text("\n\n" + spaced) == words.text(" ".join(pieces))
    with pytest.raises(UnsuitableTokenizer, match="doesn't know"):
        words.read([spaced])
    with pytest.raises(UnsuitableTokenizer, match="doesn't know ' prickly'"):
        words.text(spaced + "prickly")


def test_white_space_that_a_token_holds_stays_in_a_text() -> None:
    docstring = CIRCUIT_TASKS["docstring"].make(tokenizer("word_level"), 1, 0)
    assert "\n    " in docstring.texts[0]
    assert tuple(Words(tokenizer("word_level")).text(docstring.texts[0])) == docstring.rows[0][1:]
    text = "After Sarah\narrived,\n\n Mary  handed it. \n"
    byte_level = Words(tokenizer("byte_level")).text(text)
    assert tokenizer("byte_level").decode(byte_level) == text


def test_prompts_must_belong_together() -> None:
    good: dict[str, Any] = {
        "rows": ((0, 1),),
        "corrupted": ((0, 2),),
        "right": ((1,),),
        "wrong": ((2,),),
        "texts": (),
        "roles": {"end": (1,)},
    }
    Prompts(**good)
    for wrong in (
        {"rows": (), "corrupted": (), "right": (), "wrong": (), "roles": {}},
        {"corrupted": ((0, 2, 3),)},
        {"right": ((),)},
        {"wrong": ()},
        {"roles": {"end": (2,)}},
        {"roles": {"end": ()}},
    ):
        with pytest.raises(ValueError, match=r"every row|as long as|a role"):
            Prompts(**{**good, **wrong})


@given(stream=st.integers(6, 60), length=st.integers(2, 5), n=st.integers(1, 8), seed=seeds)
def test_control_rows_are_stretches_of_the_text(stream: int, length: int, n: int, seed: int) -> None:
    text = list(range(100, 100 + stream))
    rows = control_rows(text, 7, n, length, seed)
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(0, stream - length, (n,), generator=generator).tolist()
    assert rows == tuple((7, *(100 + place + offset for offset in range(length - 1))) for place in places)


@pytest.mark.parametrize("length", [1, 5, 9])
def test_control_rows_that_the_text_does_not_hold_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"rows of {length} tokens"):
        control_rows(range(5), 0, 1, length, 0)
