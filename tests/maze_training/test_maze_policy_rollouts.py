"""Playing many mazes at once: what is kept is what was played, and learning sees the same probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from envs.maze import draw_maze, draw_wind, generator
from envs.maze_prompts import draw_order, turn_texts
from envs.maze_rollouts import Mazes
from jobs.maze_training.losses import entropy, log_policy
from jobs.maze_training.policy import Policy
from jobs.maze_training.rollouts import Rollouts, choose, deal, play
from tests.maze_training.small_players import TEMPLATE, WINDY, byte_level, small_policy, word_level

SEEDS, EACH, TEMPERATURE = [(5, 0), (5, 1)], 3, 0.7


def played(policy: Policy, batch_size: int = 6) -> Rollouts:
    dealt = deal(WINDY, SEEDS, EACH, np.random.default_rng(3))
    return play(policy, WINDY, dealt, TEMPERATURE, batch_size)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return small_policy(WINDY)


@pytest.fixture(scope="module")
def rollouts(policy: Policy) -> Rollouts:
    return played(policy)


@pytest.mark.parametrize(
    ("architecture", "tokenizer"), [("llama", word_level(TEMPLATE)), ("gpt2", byte_level()), ("gpt2", word_level())]
)
def test_sampling_and_learning_agree_on_log_probabilities(architecture: str, tokenizer: object) -> None:
    policy = small_policy(WINDY, tokenizer, architecture)  # type: ignore[arg-type]
    kept = played(policy, batch_size=4)
    assert len({len(row) for row in kept.rows}) > 1  # or padding has no part in this
    log_p = log_policy(
        policy.letter_logits(kept.rows, kept.positions.tolist()), torch.from_numpy(kept.offered), TEMPERATURE
    )
    assert log_p.requires_grad
    log_p = log_p.detach()
    actions = torch.from_numpy(kept.actions)[..., None]
    np.testing.assert_allclose(log_p.gather(-1, actions)[..., 0].numpy(), kept.log_probs, atol=2e-5)
    np.testing.assert_allclose(entropy(log_p.double()).numpy(), kept.entropies, atol=1e-4)
    for row in range(2):  # and so does a conversation that is read alone, up to each letter
        for turn, position in enumerate(kept.positions[row]):
            alone = policy.model(torch.tensor([kept.rows[row][: position + 1]])).logits[0, -1].detach()
            own = log_policy(
                alone[list(policy.dialogue.letters)], torch.from_numpy(kept.offered[row, turn]), TEMPERATURE
            )
            assert own[kept.actions[row, turn]].item() == pytest.approx(kept.log_probs[row, turn], abs=2e-5)


def test_they_agree_in_bfloat16_as_far_as_it_goes() -> None:
    policy = replace(small_policy(WINDY), bf16=True)
    kept = played(policy)
    log_p = log_policy(
        policy.letter_logits(kept.rows, kept.positions.tolist()), torch.from_numpy(kept.offered), TEMPERATURE
    )
    chosen = log_p.detach().gather(-1, torch.from_numpy(kept.actions)[..., None])[..., 0].numpy()
    apart = np.abs(chosen - kept.log_probs)
    assert 2e-5 < apart.max() < 0.1  # or nothing was in bfloat16
    log_p[..., 0].exp().sum().backward()
    assert all(weight.grad is not None and weight.grad.dtype is torch.float32 for weight in policy.learned.values())


def test_what_is_kept_is_what_was_played(policy: Policy, rollouts: Rollouts) -> None:
    """The moves made again, one maze after another."""
    for group, seed in enumerate(SEEDS):
        maze, wind = draw_maze(WINDY, generator(seed, "maze")), draw_wind(WINDY, EACH, generator(seed, "wind"))
        for index in range(EACH):
            row = group * EACH + index
            alone, texts = Mazes(WINDY, [maze], wind[None, index : index + 1]), []
            for turn, action in enumerate(rollouts.actions[row]):
                texts += turn_texts(alone, [draw_order(seed)])
                assert np.array_equal(alone.seen[0], rollouts.seen[row, turn])
                assert np.array_equal(alone.offered[0], rollouts.offered[row, turn])
                reward = alone.step(np.array([action]))
                assert reward[0] == rollouts.rewards[row, turn]
            assert (alone.gold[0] == rollouts.gold[row]).all() and (alone.mold[0] == rollouts.mold[row]).all()
            tokens, positions = policy.dialogue.whole(texts, rollouts.actions[row].tolist())
            assert tokens == rollouts.rows[row] and positions == rollouts.positions[row].tolist()


def test_rollouts_don_t_depend_on_who_plays_beside_them(policy: Policy, rollouts: Rollouts) -> None:
    apart = played(policy, batch_size=1)
    assert apart.rows == rollouts.rows
    np.testing.assert_allclose(apart.log_probs, rollouts.log_probs, atol=2e-5)


@settings(max_examples=25)
@given(
    arrays(np.int64, (3, 4), elements=st.integers(0, 5)).filter(lambda weights: bool(weights.any(1).all())),
    arrays(np.float64, 3, elements=st.floats(0, 1, exclude_max=True)),
)
def test_choices_follow_the_probabilities(weights: np.ndarray, luck: np.ndarray) -> None:
    chosen = choose(weights / weights.sum(1, keepdims=True), luck)
    for row in range(3):
        options = [option for option in range(4) for _ in range(weights[row, option])]
        assert weights[row, chosen[row]] > 0
        place = luck[row] * len(options)
        if abs(place - round(place)) > 1e-9:
            assert chosen[row] == options[int(place)]
