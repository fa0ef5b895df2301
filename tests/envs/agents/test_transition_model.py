"""Transition counts, surprise and the mixing of neighbours against plain references and their bounds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.agents import NeighbourMixing, TransitionModel, Transitions
from envs.game import Step

seeds = st.integers(0, 2**32 - 1)


def seen(t: Transitions, n: int) -> list[tuple[int, int]]:
    """Transitions before decision n that led somewhere."""
    return [(int(t.state[i]), int(t.next_state[i])) for i in range(n) if not t.done[i]]


def share(pairs: list[tuple[int, int]], state: int, after: int) -> float:
    """Of the transitions from a state those to another, as a share; 0 without any."""
    leaving = [pair for pair in pairs if pair[0] == state]
    return leaving.count((state, after)) / len(leaving) if leaving else 0.0


@given(seed=seeds, clip=st.sampled_from([1e-6, 1e-3, 0.3]))
def test_any_rollout_matches_counts_from_scratch(
    random_rollout: Callable[..., Transitions], seed: int, clip: float
) -> None:
    t = random_rollout(seed)
    matrices = TransitionModel(4, clip).replay_matrix(t)
    rows = [[share(seen(t, n), t.state[n], x) for x in range(4)] for n in range(len(t))]
    np.testing.assert_allclose(matrices["transition"], rows, rtol=1e-12, atol=0)
    surprise = [[0.0] * 4]
    for n in range(1, len(t)):
        before, left, reached = seen(t, n - 1), t.state[n - 1], t.next_state[n - 1]
        happened = [share(before, left, x) if x == reached else 1 - share(before, left, x) for x in range(4)]
        surprise.append([0.0] * 4 if t.done[n - 1] else [-math.log(max(p, clip)) for p in happened])
    np.testing.assert_allclose(matrices["surprise"], surprise, rtol=1e-9, atol=1e-12)


@given(seed=seeds)
def test_rows_are_probabilities_and_surprise_is_bounded(random_rollout: Callable[..., Transitions], seed: int) -> None:
    t, source = random_rollout(seed), TransitionModel(4, clip=0.01)
    matrices, scalars = source.replay_matrix(t), source.replay(t)
    rows, surprise = matrices["transition"], matrices["surprise"]
    left = [any(state == pair[0] for pair in seen(t, n)) for n, state in enumerate(t.state)]
    np.testing.assert_allclose(rows.sum(axis=1), np.array(left, dtype=float), atol=1e-12)
    assert rows.min() >= 0
    assert surprise.min() >= 0 and surprise.max() <= -math.log(0.01)
    entropies = [-sum(p * math.log(p) for p in row if p > 0) for row in rows]
    np.testing.assert_allclose(scalars["transition_entropy"], entropies, atol=1e-12)
    arrived = [0.0 if t.done[n] else surprise[n + 1, t.next_state[n]] for n in range(len(t) - 1)]
    assert scalars["surprise_taken"].tolist() == [0.0, *arrived]


def test_surprise_by_hand() -> None:
    """From 0: to 1, to 1, to 2. What was never seen is as surprising as the clip allows."""
    steps = [Step(0, s, 0, 0.0, after, False, False) for s, after in [(0, 1), (1, 0), (0, 1), (1, 0), (0, 2), (2, 0)]]
    surprise = TransitionModel(3, clip=0.1).replay_matrix(Transitions.from_steps(steps))["surprise"]
    never = -math.log(0.1)
    np.testing.assert_allclose(
        surprise, [[0, 0, 0], [0, never, 0], [never, 0, 0], [0, 0, 0], [0, 0, 0], [0, never, never]], atol=1e-12
    )


@given(seed=seeds, weight=st.floats(0.1, 1))
def test_mixing_matches_counts_from_scratch(
    random_rollout: Callable[..., Transitions], seed: int, weight: float
) -> None:
    t, source = random_rollout(seed), NeighbourMixing(4, weight)

    def mix(state: int, n: int) -> list[float]:
        itself = [float(x == state) for x in range(4)]
        after = Counter(reached for left, reached in seen(t, n) if left == state)
        if not after:
            return itself
        return [(1 - weight) * itself[x] + weight * after[x] / after.total() for x in range(4)]

    rows = source.replay_matrix(t)["mixing"]
    np.testing.assert_allclose(rows, [mix(t.state[n], n) for n in range(len(t))], rtol=0, atol=1e-12)
    np.testing.assert_allclose(rows.sum(axis=1), 1.0)
    change = [math.dist(mix(t.state[n], n + 1), mix(t.state[n], n)) for n in range(len(t) - 1)]
    np.testing.assert_allclose(source.replay(t)["mixing_change"], [0.0, *change], rtol=0, atol=1e-12)


@given(seed=seeds)
def test_half_a_mix_is_half_the_transitions(random_rollout: Callable[..., Transitions], seed: int) -> None:
    """(I + T) / 2, wherever T is known."""
    t = random_rollout(seed)
    transition = TransitionModel(4).replay_matrix(t)["transition"]
    known = transition.any(axis=1)
    mixing = NeighbourMixing(4).replay_matrix(t)["mixing"]
    np.testing.assert_allclose(mixing[known], (np.eye(4)[t.state] + transition)[known] / 2, atol=1e-12)
    np.testing.assert_array_equal(mixing[~known], np.eye(4)[t.state][~known])


@pytest.mark.parametrize("source", [TransitionModel(3), NeighbourMixing(3)])
def test_a_state_without_a_place_is_named(
    random_rollout: Callable[..., Transitions], source: TransitionModel | NeighbourMixing
) -> None:
    with pytest.raises(ValueError, match="state 3, but the source was made for 3 states"):
        source.replay(random_rollout(0))


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="clip"):
        TransitionModel(3, clip=0.0)
    with pytest.raises(ValueError, match="weight"):
        NeighbourMixing(3, weight=1.5)
