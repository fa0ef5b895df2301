"""Random rewards: drawn from the history alone, from nothing that comes later, and fair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from envs.agents import QLearning, QLearningConfig, RandomRewards, Transitions
from envs.agents.random_rewards import random_rewards

seeds = st.integers(0, 2**32 - 1)
ACTIONS = ("a", "b", "c")


@given(seed=seeds)
def test_the_same_history_gives_the_same_rewards(random_rollout: Callable[..., Transitions], seed: int) -> None:
    """What it brought plays no part, nor does the state noted after an end."""
    t = random_rollout(seed)
    other = replace(t, reward=-t.reward, next_state=np.where(t.done, 7, t.next_state))
    np.testing.assert_array_equal(random_rewards(t), random_rewards(other))
    assert set(random_rewards(t)) <= {-1.0, 1.0}


@given(seed=seeds, cut=st.integers(1, 39))
def test_histories_that_part_keep_what_they_share(
    random_rollout: Callable[..., Transitions], seed: int, cut: int
) -> None:
    t = random_rollout(seed)
    other = replace(t, action=np.where(np.arange(40) == cut, t.action + 1, t.action))
    np.testing.assert_array_equal(random_rewards(t)[:cut], random_rewards(other)[:cut])


def test_histories_that_part_go_on_apart(random_rollout: Callable[..., Transitions]) -> None:
    t = random_rollout(0, n=400)
    other = replace(t, action=np.where(np.arange(400) == 0, t.action + 1, t.action))
    assert 140 < (random_rewards(t) == random_rewards(other)).sum() < 260  # six deviations around a half


def test_gains_and_losses_are_even(random_rollout: Callable[..., Transitions]) -> None:
    t = random_rollout(1, n=4000)
    rewards = random_rewards(t)
    assert abs(rewards.mean()) < 4 / np.sqrt(4000)
    for action in range(3):
        of_action = rewards[t.action == action]
        assert abs(of_action.mean()) < 4 / np.sqrt(of_action.size)
    assert abs((rewards[1:] * rewards[:-1]).mean()) < 4 / np.sqrt(4000)


@given(seed=seeds, window=st.one_of(st.none(), st.integers(1, 12)))
def test_it_is_the_q_learner_paid_at_random(
    random_rollout: Callable[..., Transitions], seed: int, window: int | None
) -> None:
    t, config = random_rollout(seed), QLearningConfig(window=window)
    paid = replace(t, reward=random_rewards(t))
    learner, signals = QLearning(ACTIONS, config), RandomRewards(ACTIONS, config).replay(t)
    expected = learner.replay(paid)
    assert list(signals) == ["random_error", "random_q_a", "random_q_b", "random_q_c", "random_q_max"]
    for ours, theirs in zip(signals, ["td_error", "q_a", "q_b", "q_c", "q_max"], strict=True):
        np.testing.assert_array_equal(signals[ours], expected[theirs])
    np.testing.assert_array_equal(RandomRewards(ACTIONS, config).action_values(t), learner.action_values(paid))
