"""Signals of the values that a player holds actions to have, against plain loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.agents import VALUE_SOURCES, OptimalSignals, QNetworkSignals, Transitions, ValueSource

RolloutMaker = Callable[..., Transitions]


def values(seed: int, n: int = 40, actions: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, actions))


@given(seed=st.integers(0, 2**32 - 1), gamma=st.floats(0, 1), scale=st.floats(0.001, 10))
def test_the_signals_of_a_network_are_those_of_a_loop(
    random_rollout: RolloutMaker, seed: int, gamma: float, scale: float
) -> None:
    t, q = random_rollout(seed, n_actions=3), values(seed)
    found = QNetworkSignals(gamma, scale).replay_values(t, q)
    for n in range(len(t)):
        ordered = sorted(q[n])
        assert found["q_max"][n] == ordered[-1] and found["q_gap"][n] == ordered[-1] - ordered[-2]
        assert found["q_mean"][n] == pytest.approx(sum(q[n]) / 3)
        assert found["advantage"][n] == pytest.approx(q[n][t.action[n]] - sum(q[n]) / 3)
        last = n == len(t) - 1
        if last and not t.done[n]:
            ahead = 0.0
        else:
            beyond = 0.0 if t.done[n] else gamma * max(q[n + 1])
            ahead = scale * t.reward[n] + beyond - q[n][t.action[n]]
        assert found["td_error_ahead"][n] == pytest.approx(ahead, abs=1e-12)
        begins = n == 0 or t.episode[n] != t.episode[n - 1]
        assert found["td_error"][n] == (0.0 if begins else found["td_error_ahead"][n - 1])


def test_a_network_that_is_right_has_no_td_error() -> None:
    """Three moves to a mate worth 1: values 0.81, 0.9 and 1 at a discount of 0.9."""
    t = Transitions(
        episode=np.zeros(3, np.int64),
        state=np.arange(3),
        action=np.zeros(3, np.int64),
        reward=np.array([0.0, 0.0, 100.0]),
        next_state=np.array([1, 2, -1]),
        done=np.array([False, False, True]),
    )
    q = np.array([[0.81, 0.0], [0.9, 0.0], [1.0, 0.0]])
    found = QNetworkSignals(0.9, 0.01).replay_values(t, q)
    np.testing.assert_allclose(found["td_error_ahead"], 0, atol=1e-12)
    np.testing.assert_allclose(found["td_error"], 0, atol=1e-12)


def test_regret_is_what_the_move_falls_short_of_the_best(random_rollout: RolloutMaker) -> None:
    t, q = random_rollout(1, n_actions=3), values(1)
    found = OptimalSignals().replay_values(t, q)
    assert found["optimal_value"].tolist() == [max(row) for row in q]
    assert found["regret"].tolist() == [max(row) - row[action] for row, action in zip(q, t.action, strict=True)]
    assert (found["regret"] >= 0).all()


@pytest.mark.parametrize("name", VALUE_SOURCES)
def test_every_source_describes_what_it_gives_and_refuses_other_shapes(random_rollout: RolloutMaker, name: str) -> None:
    source = VALUE_SOURCES[name]()
    assert isinstance(source, ValueSource) and source.name == name
    t = random_rollout(1, n_actions=3)
    found = source.replay_values(t, values(1))
    assert list(found) == list(source.describe())
    assert all(v.shape == (40,) and v.dtype == np.float64 and np.isfinite(v).all() for v in found.values())
    with pytest.raises(ValueError, match="expected Q-values of shape \\[40, actions\\]"):
        source.replay_values(t, values(1, n=39))


@pytest.mark.parametrize(("gamma", "scale", "said"), [(1.5, 1, "gamma"), (0.9, 0, "reward_scale")])
def test_impossible_settings_are_refused(gamma: float, scale: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        QNetworkSignals(gamma, scale)
