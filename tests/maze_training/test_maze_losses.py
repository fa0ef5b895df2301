"""Advantages, clips and entropies against plain ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from envs.maze import NOWHERE, Tile
from jobs.maze_training.config import Algorithm, Shuffled
from jobs.maze_training.losses import (
    advantages,
    clipped_share,
    entropy,
    equalised_entropy,
    log_policy,
    move_losses,
    shuffled_rewards,
)

REWARDS = arrays(np.float64, (6, 4), elements=st.floats(-30, 30).map(lambda value: round(value, 3)))
NUMBER = st.floats(-3, 3)
FEW = settings(max_examples=25)


@FEW
@given(REWARDS)
def test_dr_grpo_compares_returns_within_a_maze(rewards: np.ndarray) -> None:
    found = advantages(rewards, 3, Algorithm.DR_GRPO)
    for index in range(6):
        group = range(index // 3 * 3, index // 3 * 3 + 3)
        mean = sum(math.fsum(rewards[other]) for other in group) / 3
        np.testing.assert_allclose(found[index], [math.fsum(rewards[index]) - mean] * 4, atol=1e-9)


@FEW
@given(REWARDS)
def test_reinforce_compares_what_follows_at_the_same_turn(rewards: np.ndarray) -> None:
    found = advantages(rewards, 3, Algorithm.REINFORCE)
    for index in range(6):
        group = range(index // 3 * 3, index // 3 * 3 + 3)
        for turn in range(4):
            mean = sum(math.fsum(rewards[other, turn:]) for other in group) / 3
            assert found[index, turn] == pytest.approx(math.fsum(rewards[index, turn:]) - mean, abs=1e-9)


def test_sft_has_no_advantages() -> None:
    with pytest.raises(ValueError, match="no advantages"):
        advantages(np.zeros((2, 1)), 2, Algorithm.SFT)


def plain_loss(ratio: float, advantage: float, clip: float, dual_clip: float) -> float:
    """Of one move, case by case; the slope in the ratio is zero where it stops counting."""
    if advantage >= 0:
        return -advantage * min(ratio, 1 + clip)
    return -advantage * min(max(ratio, 1 - clip), dual_clip)


@FEW
@given(NUMBER, NUMBER, NUMBER, st.floats(0.05, 0.9), st.floats(2, 5))
def test_a_move_s_loss_and_its_slope(log_prob: float, old: float, advantage: float, clip: float, dual: float) -> None:
    now = torch.tensor(log_prob, dtype=torch.float64, requires_grad=True)
    before, worth = torch.tensor(old, dtype=torch.float64), torch.tensor(advantage, dtype=torch.float64)
    loss = move_losses(now, before, worth, clip, dual)
    ratio = math.exp(log_prob - old)
    assert loss.item() == pytest.approx(plain_loss(ratio, advantage, clip, dual), abs=1e-9)
    edges = [abs(ratio - edge) for edge in (1 - clip, 1 + clip, dual)]
    if min(edges) > 1e-6 and abs(advantage) > 1e-6:
        loss.backward()
        held = (advantage > 0 and ratio > 1 + clip) or (advantage < 0 and not 1 - clip < ratio < dual)
        assert now.grad is not None
        assert now.grad.item() == pytest.approx(0.0 if held else -advantage * ratio, abs=1e-9)
        assert clipped_share(now.detach()[None], before[None], worth[None], clip, dual).item() == held


LOGITS = arrays(np.float64, (3, 4), elements=NUMBER)
SEEN = arrays(np.int8, (3, 4), elements=st.sampled_from([NOWHERE, *Tile]))


@FEW
@given(LOGITS, SEEN)
def test_equalised_entropy_is_that_within_each_kind_of_tile(logits: np.ndarray, seen: np.ndarray) -> None:
    x = torch.tensor(logits, requires_grad=True)
    found = equalised_entropy(x, torch.tensor(seen))
    for row in range(3):
        expected = 0.0
        for tile in Tile:
            group = [direction for direction in range(4) if seen[row, direction] == tile]
            if len(group) >= 2:
                total = sum(math.exp(logits[row, direction]) for direction in group)
                shares = [math.exp(logits[row, direction]) / total for direction in group]
                expected -= sum(share * math.log(share) for share in shares)
        assert found[row].item() == pytest.approx(expected, abs=1e-9)
    found.sum().backward()
    assert x.grad is not None and bool(x.grad.isfinite().all())
    for row in range(3):  # how much is put on a kind of tile is left alone
        for tile in (NOWHERE, *Tile):
            assert x.grad[row][torch.tensor(seen[row] == tile)].sum().item() == pytest.approx(0, abs=1e-9)


@FEW
@given(LOGITS, arrays(np.bool_, (3, 4)).filter(lambda offered: bool(offered.any(1).all())), st.floats(0.3, 2))
def test_the_policy_is_among_what_is_offered(logits: np.ndarray, offered: np.ndarray, temperature: float) -> None:
    x = torch.tensor(logits, requires_grad=True)
    log_p = log_policy(x, torch.tensor(offered), temperature)
    weights = np.exp(logits / temperature) * offered
    expected = weights / weights.sum(1, keepdims=True)
    np.testing.assert_allclose(log_p.detach().exp().numpy(), expected, atol=1e-12)
    nats = entropy(log_p)
    plain = [-sum(share * math.log(share) for share in row if share) for row in expected]
    np.testing.assert_allclose(nats.detach().numpy(), plain, atol=1e-9)
    nats.sum().backward()
    assert x.grad is not None and bool(x.grad.isfinite().all())


def test_shuffling_exchanges_whole_rollouts() -> None:
    rewards = np.arange(24.0).reshape(12, 2)  # 4 mazes of 3 rollouts
    drawn = {among: shuffled_rewards(rewards, 3, among, np.random.default_rng(1)) for among in Shuffled}
    assert np.array_equal(drawn[Shuffled.NO], rewards)
    for among in (Shuffled.GROUP, Shuffled.BATCH):
        assert not np.array_equal(drawn[among], rewards)
        assert sorted(map(tuple, drawn[among])) == sorted(map(tuple, rewards))
        again = shuffled_rewards(rewards, 3, among, np.random.default_rng(1))
        assert np.array_equal(again, drawn[among])
    groups = drawn[Shuffled.GROUP].reshape(4, 3, 2)
    assert all(
        sorted(map(tuple, a)) == sorted(map(tuple, b)) for a, b in zip(groups, rewards.reshape(4, 3, 2), strict=True)
    )
    across = drawn[Shuffled.BATCH].reshape(4, 3, 2)
    assert any(set(map(tuple, a)) != set(map(tuple, b)) for a, b in zip(across, rewards.reshape(4, 3, 2), strict=True))


def test_shuffled_rewards_say_nothing_of_a_rollout() -> None:
    """Over many draws a rollout's advantage is 0 on average, whatever it did."""
    rng, draws = np.random.default_rng(0), 2000
    rewards = rng.normal(size=(6, 2)) * 10 + np.repeat([0.0, 50.0], 3)[:, None]  # one maze is much richer
    for among in (Shuffled.GROUP, Shuffled.BATCH):
        drawn = np.array(
            [advantages(shuffled_rewards(rewards, 3, among, rng), 3, Algorithm.DR_GRPO)[:, 0] for _ in range(draws)]
        )
        assert (np.abs(drawn.mean(0)) < 4 * drawn.std(0) / draws**0.5).all()
