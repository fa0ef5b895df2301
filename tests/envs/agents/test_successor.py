"""The successor representation against a plain reference, its closed form and its bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.agents import Successor, Transitions
from envs.graph_walk import ADJACENCY, N_NODES, random_walk

seeds = st.integers(0, 2**32 - 1)
windows = st.one_of(st.none(), st.integers(1, 12))


def plain_successor(
    t: Transitions, n_states: int, alpha: float, gamma: float, window: int | None, initial: float
) -> tuple[list[list[float]], list[list[float]]]:
    """Lists and loops: every error against a copy of the old matrix, the last update of a row stands."""
    m = [[initial * (row == column) for column in range(n_states)] for row in range(n_states)]
    rows, errors = [], [[0.0] * n_states]
    for n in range(len(t)):
        rows.append(list(m[t.state[n]]))
        first = 0 if window is None else max(0, n + 1 - window)
        old, deltas = [list(row) for row in m], []
        for i in range(first, n + 1):
            s, after = t.state[i], t.next_state[i]
            future = [0.0] * n_states if t.done[i] else old[after]
            deltas.append([float(x == s) + gamma * future[x] - old[s][x] for x in range(n_states)])
            m[s] = [old[s][x] + alpha * deltas[-1][x] for x in range(n_states)]
        errors.append([sum(delta[x] for delta in deltas) / len(deltas) for x in range(n_states)])
    return rows, errors[:-1]


def walk_on(nodes: list[int]) -> Transitions:
    """A walk as one episode that goes on: the action is the node that follows."""
    walk = np.array(nodes)
    return Transitions(
        episode=np.zeros(len(walk) - 1, dtype=np.int64),
        state=walk[:-1],
        action=walk[1:],
        reward=np.zeros(len(walk) - 1),
        next_state=walk[1:],
        done=np.zeros(len(walk) - 1, dtype=bool),
    )


@pytest.fixture(scope="module")
def long_walk() -> Transitions:
    """8,000 steps on the community graph."""
    neighbours, walk = [np.flatnonzero(row) for row in ADJACENCY], [0]
    for draw in np.random.default_rng(0).integers(4, size=8000):
        walk.append(int(neighbours[walk[-1]][draw]))
    return walk_on(walk)


@given(seed=seeds, window=windows, alpha=st.floats(0.01, 1), gamma=st.floats(0, 1), initial=st.sampled_from([0.0, 1.0]))
def test_any_rollout_matches_plain_reference(
    random_rollout: Callable[..., Transitions],
    seed: int,
    window: int | None,
    alpha: float,
    gamma: float,
    initial: float,
) -> None:
    t = random_rollout(seed)
    matrices = Successor(4, alpha, gamma, window, initial).replay_matrix(t)
    rows, errors = plain_successor(t, 4, alpha, gamma, window, initial)
    np.testing.assert_allclose(matrices["sr"], rows, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(matrices["sr_error"], errors, rtol=1e-9, atol=1e-12)


def test_the_first_steps_by_hand() -> None:
    """0 → 1 → 0 → 1 with α ½ and γ ½."""
    matrices = Successor(2, alpha=0.5, gamma=0.5).replay_matrix(walk_on([0, 1, 0, 1]))
    assert matrices["sr_error"].tolist() == [[0, 0], [1, 0], [0.25, 1]]
    assert matrices["sr"].tolist() == [[0, 0], [0, 0], [0.5, 0]]


@given(seed=seeds, window=windows, alpha=st.floats(0.01, 1), gamma=st.floats(0, 0.999))
def test_no_state_is_expected_more_often_than_time_allows(
    random_rollout: Callable[..., Transitions], seed: int, window: int | None, alpha: float, gamma: float
) -> None:
    sr = Successor(4, alpha, gamma, window).replay_matrix(random_rollout(seed, n=80))["sr"]
    assert sr.min() >= 0
    assert sr.sum(axis=1).max() <= (1 + 1e-9) / (1 - gamma)


@pytest.mark.parametrize("window", [1, 4])
def test_on_a_cycle_it_becomes_the_closed_form(window: int) -> None:
    """Nothing is random there, so even at the paper's discount (I - γT)⁻¹ is reached to the last digits."""
    t = walk_on([n % 3 for n in range(9000)])
    sr = Successor(3, alpha=0.8, window=window).replay_matrix(t)["sr"]
    exact = np.linalg.inv(np.eye(3) - 0.99 * np.roll(np.eye(3), 1, axis=1))
    np.testing.assert_allclose(sr[-3:], exact[t.state[-3:]], rtol=1e-6)


@pytest.mark.parametrize(
    ("gamma", "alpha", "tolerance", "least_r"),
    [(0.5, 0.03, 0.1, 0.998), (0.9, 0.05, 0.3, 0.99), (0.99, 0.3, 3.0, 0.94)],
)
def test_on_a_long_walk_it_approaches_the_closed_form(
    long_walk: Transitions, gamma: float, alpha: float, tolerance: float, least_r: float
) -> None:
    """Rows are averaged over the last quarter's visits, as a constant rate never settles. The higher the discount
    the noisier the rows and the longer their sums take to grow to 1 / (1 - γ)."""
    rows = Successor(N_NODES, alpha, gamma).replay_matrix(long_walk)["sr"]
    late = np.arange(len(long_walk)) >= 6000
    learned = np.array([rows[late & (long_walk.state == s)].mean(axis=0) for s in range(N_NODES)])
    exact = np.linalg.inv(np.eye(N_NODES) - gamma * ADJACENCY / 4)
    np.testing.assert_allclose(learned, exact, rtol=0, atol=tolerance)
    assert np.corrcoef(learned.ravel(), exact.ravel())[0, 1] > least_r


def test_without_a_future_a_state_expects_itself() -> None:
    t = walk_on(random_walk(400, np.random.default_rng(1)))
    sr = Successor(N_NODES, alpha=1.0, gamma=0.0).replay_matrix(t)["sr"]
    seen_before = np.array([state in t.state[:n] for n, state in enumerate(t.state)])
    np.testing.assert_array_equal(sr, np.eye(N_NODES)[t.state] * seen_before[:, None])


@given(seed=seeds)
def test_scalars_summarise_the_matrices(random_rollout: Callable[..., Transitions], seed: int) -> None:
    t, source = random_rollout(seed), Successor(4)
    scalars, matrices = source.replay(t), source.replay_matrix(t)
    np.testing.assert_array_equal(scalars["sr_self"], [row[s] for row, s in zip(matrices["sr"], t.state, strict=True)])
    np.testing.assert_allclose(scalars["sr_error_norm"], np.sqrt((matrices["sr_error"] ** 2).sum(axis=1)))


def test_rewards_and_actions_play_no_part(random_rollout: Callable[..., Transitions]) -> None:
    t = random_rollout(0)
    other = replace(t, reward=-t.reward, action=t.action[::-1].copy())
    np.testing.assert_array_equal(Successor(4).replay_matrix(t)["sr"], Successor(4).replay_matrix(other)["sr"])


def test_a_state_without_a_place_is_named(random_rollout: Callable[..., Transitions]) -> None:
    with pytest.raises(ValueError, match=r"state 3, but the source was made for 3 states"):
        Successor(3).replay_matrix(random_rollout(0))
    assert Successor(9).replay_matrix(random_rollout(0))["sr"].shape == (40, 9)


@pytest.mark.parametrize(("setting", "value"), [("alpha", 0.0), ("gamma", 1.1), ("window", 0)])
def test_settings_out_of_range_are_named(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=setting):
        Successor(15, **{setting: value})  # type: ignore[arg-type]
