"""Repetition, best episode, covariates, and what all sources of signals have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.agents import BestEpisode, Clock, Context, MatrixSource, Repetition, Transitions, signal_sources
from envs.game import Step

seeds = st.integers(0, 2**32 - 1)

HISTORY = Transitions.from_steps(
    [
        Step(0, 0, 0, 0.0, 1, False, True),
        Step(0, 1, 1, 2.0, -1, True, True),
        Step(1, 0, 1, 0.0, 2, False, True),
        Step(1, 2, 0, 5.0, -1, True, True),
        Step(2, 0, 1, 0.0, 2, False, False),
        Step(2, 2, 1, 5.0, -1, True, False),  # an equal return does not replace the remembered episode
        Step(3, 0, 0, 0.0, 1, False, False),
        Step(3, 1, 0, 1.0, -1, True, False),
        Step(4, 0, 1, 0.0, 2, False, False),
        Step(4, 2, 0, 9.0, -1, True, False),
    ]
)


def test_best_episode_on_a_written_out_history() -> None:
    signals = BestEpisode().replay(HISTORY)
    assert signals["best_return"].tolist() == [0, 0, 2, 2, 5, 5, 5, 5, 5, 5]
    assert signals["best_action"].tolist() == [0, 0, -1, 0, 1, -1, 1, 0, 1, -1]
    values = BestEpisode().action_values(HISTORY)
    assert values[4].tolist() == [0, 1] and values[5].tolist() == [1, 0] and values[7].tolist() == [0, 0]


def test_best_episode_takes_the_last_action_in_a_revisited_state() -> None:
    loop = [Step(0, 0, 0, -1.0, 0, False, False), Step(0, 0, 2, 1.0, -1, True, False)]
    after = [Step(1, 0, 1, 0.0, -1, True, False)]
    agent = BestEpisode(("up", "down", "out"))
    assert agent.best_actions(Transitions.from_steps(loop + after)).tolist() == [-1, -1, 2]
    signals = agent.replay(Transitions.from_steps(loop + after))
    assert [signals[f"best_{name}"].tolist() for name in agent.actions] == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert "best_action" not in signals


def test_best_episode_accepts_losses() -> None:
    """All returns negative: the least bad episode is still the best."""
    rewards = [-3.0, -1.0, -2.0]
    t = Transitions.from_steps([Step(e, 0, e % 2, r, -1, True, False) for e, r in enumerate(rewards)])
    signals = BestEpisode().replay(t)
    assert signals["best_return"].tolist() == [0, -3, -1] and signals["best_action"].tolist() == [0, -1, 1]


def test_repetition_counts_on_a_written_out_history() -> None:
    signals = Repetition().replay(HISTORY)
    assert signals["count_left"].tolist() == [0, 0, 1, 0, 1, 1, 1, 0, 2, 1]
    assert signals["count_right"].tolist() == [0, 0, 0, 0, 1, 0, 2, 1, 2, 1]
    assert signals["count_chosen"].tolist() == [0, 0, 0, 0, 1, 0, 1, 0, 2, 1]


def test_covariates_on_a_written_out_history() -> None:
    signals = Context(recency=0.5).replay(HISTORY)
    assert signals["step"].tolist() == list(range(10))
    np.testing.assert_allclose(np.exp(signals["log_step"]), np.arange(1, 11))
    assert signals["is_second_pick"].tolist() == [0, 1] * 5
    assert signals["last_reward"].tolist() == [0, 0, 2, 2, 5, 5, 5, 5, 1, 1]
    assert signals["max_so_far"].tolist() == [0, 0, 2, 2, 5, 5, 5, 5, 5, 5]
    assert signals["recency_reward"].tolist() == [0, 0, 1, 1, 3, 3, 4, 4, 2.5, 2.5]


def test_second_pick_is_not_the_third() -> None:
    t = Transitions.from_steps([Step(0, 0, 0, 0.0, 0, False, False)] * 3 + [Step(0, 0, 0, 0.0, -1, True, False)])
    assert Context().replay(t)["is_second_pick"].tolist() == [0, 1, 0, 0]


@given(seed=seeds)
def test_finished_episodes_against_plain_sums(random_rollout: Callable[..., Transitions], seed: int) -> None:
    t = random_rollout(seed)
    ends, returns = t.finished_episodes()
    assert len(ends) == t.episode[-1]  # the last episode is cut off
    for episode, (end, value) in enumerate(zip(ends, returns, strict=True)):
        assert t.episode[end] == episode and t.done[end]
        assert value == pytest.approx(t.reward[t.episode == episode].sum(), abs=1e-12)


@pytest.mark.parametrize("name", signal_sources())
@given(seed=seeds, cut=st.integers(1, 39))
def test_signals_never_look_ahead(random_rollout: Callable[..., Transitions], name: str, seed: int, cut: int) -> None:
    """Changing what decision ``cut`` and all later ones brought changes no signal up to ``cut``."""
    source = signal_sources(("a", "b"), n_states=4)[name]
    t = random_rollout(seed, n_actions=2)
    late = np.arange(40) >= cut
    other = replace(
        t,
        reward=np.where(late, 50.0, t.reward),
        next_state=np.where(late, (t.next_state + 2) % 4, t.next_state),
        done=t.done | (late & (np.arange(40) % 2 == 0)),
    )
    before, after = source.replay(t), source.replay(other)
    for signal in before:
        np.testing.assert_array_equal(before[signal][: cut + 1], after[signal][: cut + 1], err_msg=signal)
    if isinstance(source, MatrixSource):
        matrices, others = source.replay_matrix(t), source.replay_matrix(other)
        for matrix in matrices:
            np.testing.assert_array_equal(matrices[matrix][: cut + 1], others[matrix][: cut + 1], err_msg=matrix)


@pytest.mark.parametrize("actions", [(" left", " right"), ("up", "down", "left", "right")])
def test_every_source_describes_exactly_what_it_replays(
    random_rollout: Callable[..., Transitions], actions: tuple[str, ...]
) -> None:
    names: list[str] = []
    for key, source in signal_sources(actions, n_states=4).items():
        t = random_rollout(1, n_actions=len(actions))
        signals = source.replay(t)
        assert key == source.name and list(signals) == list(source.describe())
        assert all(v.shape == (40,) and v.dtype == np.float64 and np.isfinite(v).all() for v in signals.values())
        if isinstance(source, MatrixSource):
            matrices = source.replay_matrix(t)
            assert list(matrices) == list(source.describe_matrices())
            assert all(v.shape == (40, 4) and v.dtype == np.float64 for v in matrices.values())
        if not isinstance(source, Clock):  # whose signals are the context's, too
            names += signals
    assert len(names) == len(set(names))
    assert not any(" " in name for name in names)


def test_an_empty_rollout_has_empty_signals() -> None:
    empty = Transitions.from_steps([])
    for source in signal_sources().values():
        assert all(v.shape == (0,) for v in source.replay(empty).values())
        if isinstance(source, MatrixSource):
            assert all(v.shape == (0, 3) for v in source.replay_matrix(empty).values())


def test_impossible_transitions_are_refused() -> None:
    columns = {field.name: getattr(HISTORY, field.name) for field in fields(HISTORY)}
    for change, message in [
        ({"reward": columns["reward"][:-1]}, "one length"),
        ({"state": columns["state"] - 1}, "indices from 0"),
        ({"done": np.zeros(10, dtype=bool)}, "lead to a state"),
        ({"reward": np.full(10, np.nan)}, "finite"),
        ({"episode": columns["episode"][::-1]}, "in order"),
    ]:
        with pytest.raises(ValueError, match=message):
            Transitions(**columns | change)


def test_recency_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="recency"):
        Context(recency=0.0)
