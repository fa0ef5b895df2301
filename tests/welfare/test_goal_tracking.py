"""Goal tracking: projections on vectors, panels, and the conversations in which an answer is judged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.welfare.activations import mean_activations
from jobs.welfare.answers import PROBLEMS, Answer, answers, last_number, solved
from jobs.welfare.chat import Chat, assistant, user
from jobs.welfare.data import Item
from jobs.welfare.separation import cohen_d, cohen_d_interval
from jobs.welfare.speaker import Speaker
from jobs.welfare.tracking import (
    CORRECTNESS,
    RIGHT,
    WRONG,
    Direction,
    along,
    compare,
    judged,
    panels,
)
from tests.maze_training.small_players import byte_level
from tests.welfare.small_welfare import TEMPLATE, welfare_engine, welfare_tokenizer

ANSWERS = [Answer(f"Is {n} larger than 3?", "yes", n > 3, 1 / (n + 1), "near" if n % 2 else "far") for n in range(7)]


# --- conversations


def test_a_judged_answer_is_read_at_the_templates_tokens_alone() -> None:
    tokenizer = welfare_tokenizer()
    chat = Chat(tokenizer)
    for answer, said in ((ANSWERS[5], RIGHT), (ANSWERS[1], WRONG)):
        row = judged(chat, answer)
        told = tokenizer.decode(row.ids)
        assert told.endswith(
            f"{answer.question}<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
            f"<|im_start|>user\n{said}<|im_end|>\n<|im_start|>assistant\n"
        )
        assert tokenizer.decode([row.ids[place] for place in row.places]) == "<|im_start|>assistant\n"
        assert row.places[-1] == len(row.ids) - 1


def test_without_a_template_it_is_read_at_the_next_speakers_name() -> None:
    tokenizer = byte_level()
    row = judged(Chat(tokenizer), ANSWERS[1])
    assert tokenizer.decode([row.ids[place] for place in row.places]) == "\n\nAssistant:"
    assert tokenizer.decode(row.ids).endswith("User: That's wrong.\n\nAssistant:")


def test_a_template_that_writes_nothing_there_is_read_behind_the_users_words() -> None:
    tokenizer = byte_level(TEMPLATE.split("{% if")[0].replace("<|im_end|>", "<|end|>"))
    row = judged(Chat(tokenizer), ANSWERS[1])
    assert tokenizer.decode([row.ids[place] for place in row.places]) == "<|end|>\n"


# --- projections


def test_projections_are_in_the_order_of_the_texts() -> None:
    engine, chat = welfare_engine(), Chat(welfare_tokenizer())
    rows = [judged(chat, answer) for answer in ANSWERS]
    vectors = torch.randn(2, engine.d_model, generator=torch.Generator().manual_seed(0))
    directions = [Direction("trained", "gold", 1, vectors[0]), Direction("untrained", "mold", 3, 5 * vectors[1])]
    found = along(directions, mean_activations(engine, rows, chat.pad_id, 3), len(rows))
    for index, row in enumerate(rows):
        ((_, alone),) = mean_activations(engine, [row], chat.pad_id, 1)
        for values, one in zip(found, directions, strict=True):
            unit = one.vector.numpy().astype(np.float64)
            unit /= np.linalg.norm(unit)
            assert values[index] == pytest.approx(float(alone[0, one.block].double().numpy() @ unit), abs=1e-4)


# --- panels


@given(st.integers(0, 999), st.integers(2, 30), st.integers(2, 30), st.floats(0.01, 100), st.floats(-50, 50))
def test_comparison_is_of_the_projections_and_not_of_their_scale(
    seed: int, n: int, m: int, scale: float, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    values, first = rng.normal(size=n + m), rng.permutation(np.arange(n + m) < n)
    found = compare(scale * values + shift, first)
    assert found is not None
    d = cohen_d(values[first], values[~first])
    assert found.d == pytest.approx(d, abs=1e-6)
    assert (found.ci_low, found.ci_high) == pytest.approx(cohen_d_interval(d, n, m), abs=1e-6)
    assert (found.n, found.n_other) == (n, m)
    assert (sum(found.histogram["first"]), sum(found.histogram["other"])) == (n, m)
    z = (values - values.mean()) / values.std()
    edges = found.histogram["edges"]
    assert len(edges) == 51
    assert (edges[0], edges[-1]) == pytest.approx((z.min(), z.max()), abs=1e-3)
    inner = np.array(edges[10:41])
    below = [(z[first] < edge).sum() for edge in inner]
    assert np.abs(np.cumsum(found.histogram["first"])[9:40] - below).max() <= 1  # one may lie at an edge's rounding


def test_nothing_is_compared_with_too_few_or_where_nothing_varies() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert compare(values, np.array([True, False, False, False])) is None
    assert compare(np.ones(4), np.array([True, True, False, False])) is None
    assert compare(np.array([0.0, 0.0, 1.0, 1.0]), np.array([True, True, False, False])) is None
    found = compare(values, np.array([False, False, True, True]))
    assert found is not None
    assert found.d == pytest.approx(2 / 0.5**0.5)


def test_panels_are_of_questions_and_of_problems_apart() -> None:
    problems = [Answer("How many?", "2", True, 0.9, PROBLEMS), Answer("How many?", "3", False, 0.0, PROBLEMS)]
    found = panels([*ANSWERS[:3], *problems, *ANSWERS[3:]])  # the first is asked with the highest confidence
    assert {name: rows.tolist() for name, rows in found.items()} == {
        "correctness": [0, 1, 2, 5, 6, 7, 8],
        "correctness, low confidence": [6, 7, 8],
        "correctness, middle confidence": [2, 5],
        "correctness, high confidence": [0, 1],
        "correctness, far": [0, 2, 6, 8],
        "correctness, near": [1, 5, 7],
        "correctness, problems": [3, 4],
    }
    assert f"{CORRECTNESS}, near" not in panels(ANSWERS[::2])
    assert panels(problems)[CORRECTNESS].tolist() == []


# --- answers


def test_answers_are_the_models_own_and_it_is_asked_about_them() -> None:
    engine = welfare_engine()
    speaker, tokenizer = Speaker(engine, 4), engine.tokenizer
    items = [
        Item("Which is it?", "choice", ("B",), ("A", "B")),
        Item("Is 9 larger than 8?", "free", ("yes",)),
        Item("Which?", "choice", ("A",), ("A", "B")),
    ]
    found = answers(speaker, items, 5, problems=False)

    def next_token(messages: list[dict[str, str]]) -> torch.Tensor:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        with torch.no_grad():
            logits = engine.model(torch.tensor([tokenizer.encode(text, add_special_tokens=False)])).logits
        p: torch.Tensor = logits[0, -1].double().softmax(-1)
        return p

    def of(p: torch.Tensor, word: str, other: str) -> float:
        """Beginnings of a word that aren't the other's, with a space and without."""
        begins, shared = ({tokenizer.encode(spelt)[0] for spelt in (each, f" {each}")} for each in (word, other))
        return float(sum(p[token] for token in begins - shared))

    assert [answer.kind for answer in found] == ["choice", "free", "choice"]
    for item, answer in zip(items, found, strict=True):
        assert answer.question == item.prompt
        if item.choices:
            p = next_token([user(item.prompt)])
            assert answer.answer == ("A" if of(p, "A", "B") > of(p, "B", "A") else "B")
            assert answer.right == (answer.answer in item.answers)
        asked = "Is your proposed answer correct? Answer only 'True' or 'False'."
        p = next_token([user(item.prompt), assistant(answer.answer), user(asked)])
        true, false = of(p, "True", "False"), of(p, "False", "True")
        assert answer.confidence == pytest.approx(true / (true + false), rel=1e-3)
    assert {answer.kind for answer in answers(speaker, items[1:2], 5, problems=True)} == {PROBLEMS}


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("3 + 4 = 7. So 7.", True),
        ("7 less 2 is 5", False),
        ("It is 7.0 apples!", True),
        ("seven", False),
        ("1,007", False),
    ],
)
def test_a_problem_is_solved_by_its_last_number(reply: str, right: bool) -> None:
    assert solved(reply, Item("How many?", answers=("7",))) is right


def test_the_last_number_is_looked_for_near_the_end() -> None:
    assert last_number("It is -1,234.5 in all") == -1234.5
    assert last_number("7 " + "x" * 300) is None
