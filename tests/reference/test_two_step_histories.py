"""Training histories say what a real game would say, force the use of reward, and keep the study's tasks out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.two_step import INSTRUCTION, Layout, TwoStep, TwoStepConfig
from jobs.reference.histories import Histories, TwoStepHistories
from jobs.reference.histories import two_step as histories
from jobs.reference.histories.two_step import generate, sample_points
from jobs.reference.vocabulary import build_tokenizer, tokens

TOKENIZER = build_tokenizer()
TOKENS = tokens()
HELD_OUT = [
    {frozenset(first), frozenset(second)} for first, second in (((1, 8), (2, 5)), ((1, 2), (7, 9)), ((10, 3), (9, 2)))
]
"""The points of the study's variants, by branch."""
STEADY = TwoStepHistories(hazards=(0.0,))
EXPLORING = replace(STEADY, interleaved=1.0, exploration=(1.0, 1.0))
OWN = replace(STEADY, interleaved=0.0, leading=(0, 0))
"""Histories without change: all choices exploratory, or none."""


@dataclass(frozen=True)
class Episode:
    first: int
    fruit: int
    second: int
    points: int


def text_of(ids: np.ndarray) -> str:
    return "".join(TOKENS[i] for i in ids[1:])


def episodes_of(ids: np.ndarray) -> list[Episode]:
    """What a history says happened."""
    found = re.findall(
        r"pick (left|right)\. You see an (apple|orange)\. You pick (left|right)\. You get (\d+) points", text_of(ids)
    )
    return [
        Episode(int(first == "right"), int(fruit == "orange"), int(second == "right"), int(points))
        for first, fruit, second, points in found
    ]


def told(episodes: list[Episode]) -> str:
    """The same, written down again."""
    text, sides, fruits = INSTRUCTION, ("left", "right"), ("apple", "orange")
    for index, e in enumerate(episodes):
        text += f"Episode {index}: You pick {sides[e.first]}. You see an {fruits[e.fruit]}. "
        text += f"You pick {sides[e.second]}. You get {e.points} points. Episode is over.\n\n"
    return text


def choice_weights(made: Histories) -> np.ndarray:
    """Loss weights of the choices, [N, episodes, 2]."""
    return made.weights[:, 2:].reshape(len(made.ids), -1, 7)[:, :, [2, 5]]


def points_of(made: Histories) -> np.ndarray:
    """Points of each episode, [N, episodes]."""
    return np.array([[e.points for e in episodes_of(ids)] for ids in made.ids])


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=25)
@given(seed=seeds, episodes=st.integers(1, 30))
def test_ids_are_the_tokenizers_own_of_the_text(seed: int, episodes: int) -> None:
    made = generate(4, np.random.default_rng(seed), TwoStepHistories(episodes=episodes))
    assert made.ids.shape == made.weights.shape == (4, 2 + 7 * episodes)
    for ids in made.ids:
        assert TOKENIZER(told(episodes_of(ids)))["input_ids"] == ids.tolist()


@settings(max_examples=25)
@given(seed=seeds)
def test_a_history_is_a_game_that_could_be_played(seed: int) -> None:
    made = generate(4, np.random.default_rng(seed), STEADY)
    for ids in made.ids:
        happened = episodes_of(ids)
        points = np.full((2, 2), 99)
        for e in happened:
            points[e.fruit, e.second] = e.points
        (left,) = {e.fruit if e.first == 0 else 1 - e.fruit for e in happened}  # one fruit a side
        layout = Layout((1 + left, 2 - left), tuple(map(tuple, points.tolist())))
        game = TwoStep(TwoStepConfig(random_episodes=0), 0, phases=(layout, layout))
        for e in happened:
            game.act(e.first)
            game.act(e.second)
        assert TOKENIZER(game.transcript().text)["input_ids"] == ids.tolist()
        assert len(set(points.ravel()) - {99}) == (points != 99).sum()  # different numbers


def test_exploratory_choices_are_random_and_not_trained_on() -> None:
    made = generate(200, np.random.default_rng(0), EXPLORING)
    assert (choice_weights(made) == 0).all()
    chosen = np.array([[(e.first, e.second) for e in episodes_of(ids)] for ids in made.ids])
    assert chosen.mean((0, 1)) == pytest.approx([0.5, 0.5], abs=0.03)
    points = points_of(made)
    assert points[:, 20:].mean() == pytest.approx(points[:, :10].mean(), abs=0.3)  # no learning shows


def test_the_agents_own_choices_weigh_most_and_instructions_nothing() -> None:
    made = generate(20, np.random.default_rng(0), OWN)
    rows = made.weights[:, 2:].reshape(20, 30, 7)
    assert (made.weights[:, :2] == 0).all()
    assert (choice_weights(made) == rows.max()).all()
    outcomes, template = rows[:, :, [3, 6]], rows[:, :, [0, 1, 4]]
    assert len(np.unique(outcomes)) == len(np.unique(template)) == 1
    assert 0 < template.max() < outcomes.max() < rows.max()


def test_leading_exploration_is_a_block_of_whole_episodes() -> None:
    made = generate(300, np.random.default_rng(0), replace(OWN, leading=(2, 6)))
    exploratory = choice_weights(made) == 0
    lengths = exploratory[:, :, 0].sum(1)
    assert set(lengths) == {2, 3, 4, 5, 6}
    assert (exploratory == (np.arange(30)[None, :, None] < lengths[:, None, None])).all()


def test_interleaved_exploration_has_its_own_rate_in_each_history() -> None:
    made = generate(400, np.random.default_rng(0), replace(EXPLORING, exploration=(0.4, 0.95)))
    rates = (choice_weights(made) == 0).mean((1, 2))
    assert rates.mean() == pytest.approx(0.675, abs=0.03)
    assert rates.min() < 0.5 and rates.max() > 0.85
    mixed = generate(400, np.random.default_rng(0), replace(STEADY, interleaved=0.5, leading=(0, 0)))
    assert (choice_weights(mixed) != 0).all((1, 2)).mean() == pytest.approx(0.5, abs=0.1)


def test_each_choice_is_trained_on_exactly_if_it_was_the_agents_own(monkeypatch: pytest.MonkeyPatch) -> None:
    exploratory: list[np.ndarray] = []
    choose = histories._choose

    def watched(q: np.ndarray, beta: np.ndarray, forced: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        exploratory.append(forced)
        return choose(q, beta, forced, rng)

    monkeypatch.setattr(histories, "_choose", watched)
    weights = choice_weights(generate(50, np.random.default_rng(0)))
    assert ((weights == 0) == np.stack(exploratory, axis=1).reshape(50, 30, 2)).all()


@settings(max_examples=25)
@given(seed=seeds, n=st.integers(1, 400))
def test_points_are_four_different_numbers_and_never_the_studys(seed: int, n: int) -> None:
    points = sample_points(n, np.random.default_rng(seed))
    assert points.shape == (n, 2, 2)
    assert points.min() >= 0 and points.max() <= 10
    assert all(len(set(leaves.ravel())) == 4 for leaves in points)
    assert not any({frozenset(pair) for pair in leaves} in HELD_OUT for leaves in points.tolist())


def test_points_would_be_the_studys_were_they_not_held_out() -> None:
    """That the check above can fail: one draw in 330 is held out, and what is left is even."""
    points = sample_points(20_000, np.random.default_rng(0))
    counts = np.bincount(points.ravel(), minlength=11)
    assert len(counts) == 11
    assert counts / len(points) == pytest.approx(4 / 11, abs=0.02)
    drawn = {frozenset(frozenset(pair) for pair in leaves) for leaves in points.tolist()}
    assert len(drawn) == 11 * 10 * 9 * 8 // 8 - 3  # every pair of pairs but three


def test_no_change_brings_a_held_out_set_either(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[np.ndarray] = []
    change = histories._change

    def watched(points: np.ndarray, *arguments: Any) -> None:
        change(points, *arguments)
        met.append(points.copy())

    monkeypatch.setattr(histories, "_change", watched)
    generate(600, np.random.default_rng(0), TwoStepHistories(hazards=(1.0,)))
    everything = np.concatenate(met)
    assert len(everything) == 600 * 29
    assert not any({frozenset(pair) for pair in leaves} in HELD_OUT for leaves in everything.tolist())
    assert all(len(set(leaves)) == 4 for leaves in everything.reshape(-1, 4))


def test_tasks_change_as_often_as_the_hazard_says_and_in_all_three_ways() -> None:
    def seen(hazard: float) -> dict[str, float]:
        """Share of histories in which a visit contradicts an earlier one."""
        made = generate(200, np.random.default_rng(1), replace(EXPLORING, hazards=(hazard,)))
        swapped, repaid, moved = [], [], []
        for ids in made.ids:
            happened = episodes_of(ids)
            lefts = [e.fruit ^ e.first for e in happened]
            paid: dict[tuple[int, int], set[int]] = {}
            for e in happened:
                paid.setdefault((e.fruit, e.second), set()).add(e.points)
            swapped.append(len(set(lefts)) > 1)
            repaid.append(any(len(points) > 1 for points in paid.values()))
            places = [{leaf for leaf in paid if n in paid[leaf]} for n in range(11)]
            moved.append(any(len(where) > 1 for where in places))
        return {"swapped": np.mean(swapped), "repaid": np.mean(repaid), "moved": np.mean(moved)}

    assert set(seen(0.0).values()) == {0.0}
    assert seen(0.02)["swapped"] == pytest.approx(1 - (1 - 0.02 / 3) ** 29, abs=0.12)
    assert min(seen(0.3).values()) > 0.9


def test_agents_learn_from_exploration_and_earn_more_late_than_early() -> None:
    made = generate(400, np.random.default_rng(0), replace(OWN, leading=(10, 10)))
    points = points_of(made)
    assert points[:, :10].mean() == pytest.approx(5.0, abs=0.3)
    assert points[:, -10:].mean() > 7
    assert (points[:, -1] == points.max(1)).mean() > 0.7


def test_histories_depend_on_the_generator_alone() -> None:
    one, again, other = (generate(5, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert (one.ids == again.ids).all() and (one.weights == again.weights).all()
    assert (one.ids != other.ids).any()
