"""The gates measure what they say: checked on hand-made models whose answers are known, and on the players."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from envs.two_step import TwoStep, TwoStepConfig
from jobs.inference.base import Forward, TokenBatch
from jobs.reference.gates import two_step as gates
from jobs.reference.gates.measure import Measure, at_least, at_most
from jobs.reference.gates.two_step import reward_swap
from jobs.reference.vocabulary import build_tokenizer

Memory = list[tuple[str, str, int]]
"""Fruit, action and points of each finished episode."""
Rule = Callable[[Memory, str | None], tuple[float, float]]
"""Logits of left and right, from the memory and the fruit in view (None at the start)."""


class HandMade:
    """A model that follows a rule: it reads the tokens as the reference tokenizer writes them."""

    n_blocks, d_model, dtype, device = 1, 1, torch.float32, torch.device("cpu")
    readers = 1

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.tokenizer = build_tokenizer()
        self.last_rewards: list[int] = []  # at the end of each text, of the last episode in the state in view
        self.actions = self.tokenizer.convert_tokens_to_ids([" left", " right"])

    def forward(
        self, tokens: TokenBatch, *, positions: torch.Tensor, choices: torch.Tensor | None = None, **_: Any
    ) -> Forward:
        logits = torch.zeros(*positions.shape, len(self.tokenizer))
        for row, (ids, places) in enumerate(zip(tokens.ids.tolist(), positions.tolist(), strict=True)):
            words = self.tokenizer.convert_ids_to_tokens(ids)
            for column, place in enumerate(places):
                memory, fruit = self._read(words[: place + 1])
                logits[row, column, self.actions] = torch.tensor(self.rule(memory, fruit))
            self.last_rewards += [points for seen, _, points in memory if seen == fruit][-1:]
        if choices is not None:
            logits = logits.gather(-1, choices[:, None].expand(-1, positions.shape[1], -1))
        return Forward(logits, {})

    def _read(self, words: Sequence[str]) -> tuple[Memory, str | None]:
        assert words[-1] == " pick"
        memory: Memory = []
        episodes = words[2:]
        while len(episodes) >= 7:
            fruit, action, outcome = episodes[3], episodes[5], episodes[6]
            memory.append((fruit, action, int(outcome.split()[3])))
            episodes = episodes[7:]
        return memory, episodes[3] if len(episodes) == 5 else None


def learner(gain: float) -> Rule:
    """Prefers the latest action in this state by ``gain`` times its points."""

    def rule(memory: Memory, fruit: str | None) -> tuple[float, float]:
        for seen, action, points in reversed(memory):
            if seen == fruit:
                return (gain * points / 10, 0.0) if action == " left" else (0.0, gain * points / 10)
        return 0.0, 0.0

    return rule


def copier(memory: Memory, fruit: str | None) -> tuple[float, float]:
    """Prefers the latest action in this state, whatever it brought."""
    chosen = [action for seen, action, _ in memory if seen == fruit][-1:]
    return (3.0, 0.0) if chosen == [" left"] else (0.0, 3.0)


def distracted(memory: Memory, fruit: str | None) -> tuple[float, float]:
    """Follows the points of the latest episode in the other state."""
    for seen, action, points in reversed(memory):
        if seen != fruit:
            return (points, 0.0) if action == " left" else (0.0, points)
    return 0.0, 0.0


@pytest.mark.parametrize("gain", [2.0, 0.4, -1.0])
def test_the_slope_is_the_gain_of_a_model_that_follows_the_last_reward(gain: float) -> None:
    slope, low = reward_swap(HandMade(learner(gain)), seed=0, n=12, episodes=6)
    assert slope == pytest.approx(gain, abs=1e-5)
    assert low == pytest.approx(gain, abs=1e-5)


def test_a_bent_answer_to_reward_is_summed_up_by_least_squares() -> None:
    def bent(memory: Memory, fruit: str | None) -> tuple[float, float]:
        left, right = learner(1.0)(memory, fruit)
        return 5 * left**3, 5 * right**3

    model = HandMade(bent)
    slope, _ = reward_swap(model, seed=0, n=30, episodes=6)
    new, old = np.array(model.last_rewards).reshape(2, 30) / 10
    expected = np.linalg.lstsq((new - old)[:, None], 5 * (new**3 - old**3), rcond=None)[0]
    assert slope == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("rule", [copier, distracted])
def test_models_that_do_not_use_this_reward_have_no_slope(rule: Rule) -> None:
    assert reward_swap(HandMade(rule), seed=0, n=12, episodes=6) == (0.0, 0.0)


def test_the_bound_is_below_the_slope_of_a_model_that_sometimes_learns() -> None:
    rules = learner(2.0), learner(0.0)

    def wavering(memory: Memory, fruit: str | None) -> tuple[float, float]:
        return rules[bool(memory) and memory[0][1] == " left"](memory, fruit)

    slope, low = reward_swap(HandMade(wavering), seed=0, n=60, episodes=4)
    assert slope == pytest.approx(1.0, abs=0.6)
    assert 0 < low < slope - 0.1


@given(seed=st.integers(0, 2**32 - 1), episode=st.integers(0, 9), points=st.integers(0, 10))
def test_one_number_changes_and_the_decisions_after_it_move_along(seed: int, episode: int, points: int) -> None:
    game = TwoStep(TwoStepConfig(episodes=10, random_episodes=10), seed)
    while not game.done:
        game.act(game.forced_action or 0)
    before, decision = game.transcript(), 2 * episode + 1
    after = gates._with_points(before, decision, points)
    sentences = before.text.split("You get ")
    old = str(int(game.steps[decision].reward))
    assert sentences[episode + 1].startswith(f"{old} points.")
    sentences[episode + 1] = str(points) + sentences[episode + 1].removeprefix(old)
    assert after.text == "You get ".join(sentences)
    assert len(after.decisions) == 20
    assert {after.text[span.start : span.end] for span in after.decisions} == {"pick"}
    assert after.decisions[: decision + 1] == before.decisions[: decision + 1]


@pytest.fixture(scope="module")
def standard() -> TwoStepConfig:
    return TwoStepConfig()


def test_the_random_player_earns_the_four_points_of_chance(standard: TwoStepConfig) -> None:
    games = gates._played(standard, gates._random, seed=0, n=150)
    assert gates._last_third(games) == pytest.approx(4.0, abs=0.25)
    own = [step.action for game in games for step in game.steps if not step.forced]
    assert np.mean(own) == pytest.approx(0.5, abs=0.02)


def test_the_q_learner_comes_close_to_the_best_and_the_copier_does_not(standard: TwoStepConfig) -> None:
    learned = gates._last_third(gates._played(standard, gates._q_learner(0), seed=0, n=80))
    copied = gates._last_third(gates._played(standard, gates._copy, seed=0, n=80))
    assert 7.0 < learned < 8.0
    assert copied < 4.0 + 0.5 * (learned - 4.0)


def test_the_copier_repeats_the_majority_of_its_own_past(standard: TwoStepConfig) -> None:
    for game in gates._played(standard, gates._copy, seed=3, n=10):
        counts = np.zeros((3, 2))
        for step in game.steps:
            if not step.forced:
                assert counts[step.state, step.action] == counts[step.state].max()
            counts[step.state, step.action] += 1


def test_players_meet_the_same_instances_and_imposed_choices(standard: TwoStepConfig) -> None:
    one, other = (gates._played(standard, player, seed=0, n=5) for player in (gates._random, gates._copy))
    for a, b in zip(one, other, strict=True):
        assert a.phases == b.phases and a.steps[:14] == b.steps[:14]
        assert all(step.forced for step in a.steps[:14])
    assert len({tuple(game.steps[:14]) for game in one}) == 5


def test_the_last_third_is_the_last_ten_episodes_of_thirty(standard: TwoStepConfig) -> None:
    games = gates._played(standard, gates._random, seed=0, n=3)
    rewards = [[step.reward for step in game.steps if step.done][20:] for game in games]
    assert gates._last_third(games) == pytest.approx(np.mean(rewards))
    assert len(rewards[0]) == 10


def test_the_share_lies_between_random_play_and_the_q_learner() -> None:
    returns = {"random": 4.0, "q_learner": 8.0, "copy_only": 4.5, "untrained": 4.0}
    assert gates.share({**returns, "model": 7.0}) == pytest.approx(0.75)
    assert gates.share({**returns, "model": 4.0}) == 0


def test_a_gate_includes_its_bound() -> None:
    assert at_least("a", 0.75, 0.75) == Measure("a", 0.75, "≥ 0.75", True)
    assert not at_least("a", 0.7499, 0.75).passed
    assert at_most("b", 0.25, 0.25).passed and not at_most("b", 0.2501, 0.25).passed
