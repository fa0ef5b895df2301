"""Best play and exact returns of the rook endgame, against games that are played and equations that must hold."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from envs.rook_endgame import (
    LEGAL,
    MAX_MOVES,
    N_ACTIONS,
    N_STATES,
    REWARDS,
    START_PROBABILITIES,
    STARTS,
    Outcome,
    advance,
    starting_boards,
    tables,
)
from envs.rook_predicates import predicates
from envs.rook_values import Best, best_returns, best_values, ceiling, play_out, value_iteration
from tests.envs.plain_rook import board, move

OPPONENTS = ("smart", "uniform")


@cache
def best(opponent: str) -> Best:
    return best_returns(opponent=opponent)


def plain_backup(values: NDArray[np.float64], state: int, action: int, opponent: str) -> float:
    """Reward and what follows, straight from the tables."""
    rules = tables(opponent)
    outcome = Outcome(rules.outcome[state, action])
    if outcome is not Outcome.ORDINARY:
        return float(REWARDS[outcome])
    return -1 + float(np.mean([values[reply] for reply in rules.replies[state, action] if reply >= 0]))


def simulated(
    policy: NDArray[np.int64], opponent: str, n: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns and outcomes of games [n] of a policy by move and board [MAX_MOVES, N_STATES]."""
    rng = np.random.default_rng(seed)
    states, over = starting_boards(rng.random(n)), np.zeros(n, dtype=bool)
    returns, ends = np.zeros(n), np.zeros(n, dtype=np.int64)
    for moved in range(MAX_MOVES):
        outcomes, following = advance(opponent, states, policy[moved, states], np.full(n, moved), rng.random(n))
        returns += np.where(over, 0, REWARDS[outcomes])
        ends = np.where(over, ends, outcomes)
        over |= outcomes != Outcome.ORDINARY
        states = np.where(over, states, following)
    return returns, ends


def some_policy(seed: int, share: float, opponent: str) -> NDArray[np.int64]:
    """The best move on a share of the boards, and on the others a random one, if possible one that ends no game."""
    rng = np.random.default_rng(seed)
    outcome = tables(opponent).outcome
    preference = rng.random((N_STATES, N_ACTIONS)) + 10 * (outcome == Outcome.ORDINARY)
    return np.where(rng.random(N_STATES) < share, best(opponent).actions[0], preference.argmax(1))


@pytest.mark.parametrize("opponent", OPPONENTS)
@pytest.mark.parametrize("gamma", [0.5, 0.98, 1.0])
def test_optimal_values_are_a_fixed_point(gamma: float, opponent: str) -> None:
    q = value_iteration(gamma, opponent)
    values, rng = q.max(1), np.random.default_rng(0)
    for state, action in zip(rng.choice(np.flatnonzero(LEGAL), 800), rng.integers(N_ACTIONS, size=800), strict=True):
        assert q[state, action] == pytest.approx(plain_backup(gamma * values, state, action, opponent), abs=1e-9)
    assert (q[~LEGAL] == -100).all() and (q[tables(opponent).outcome == Outcome.ILLEGAL] == -100).all()
    assert q.max() == 100 and q.min() >= -101


@pytest.mark.parametrize("gamma", [0.0, 1.1, -1.0])
def test_a_discount_out_of_range_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match="gamma"):
        value_iteration(gamma)


@pytest.mark.parametrize("opponent", OPPONENTS)
def test_the_ceiling_is_best_move_by_move(opponent: str) -> None:
    found, rng = best(opponent), np.random.default_rng(0)
    assert found.returns.shape == found.actions.shape == (MAX_MOVES, N_STATES)
    for moved in (0, 20, MAX_MOVES - 2, MAX_MOVES - 1):
        later = found.returns[moved + 1] if moved < MAX_MOVES - 1 else np.full(N_STATES, -99.0)
        for state in rng.choice(np.flatnonzero(LEGAL), 60):
            values = [plain_backup(later, state, action, opponent) for action in range(N_ACTIONS)]
            assert found.returns[moved, state] == pytest.approx(max(values), abs=1e-9)
            assert values[found.actions[moved, state]] == pytest.approx(max(values), abs=1e-9)


@pytest.mark.parametrize("opponent", OPPONENTS)
def test_best_play_mates_always_and_reaches_the_ceiling(opponent: str) -> None:
    highest = ceiling(opponent)
    exact = play_out(best(opponent).actions, opponent)
    assert exact.mean_return == pytest.approx(highest, abs=1e-9)
    assert exact.shares[Outcome.CHECKMATE] == pytest.approx(1, abs=1e-9)
    assert highest == pytest.approx({"smart": 97.1727, "uniform": 97.5558}[opponent], abs=1e-4)
    # a game of n moves that mates is worth 101 - n
    assert exact.visits.sum() == pytest.approx(101 - highest, abs=1e-9)
    without_clock = play_out(best_values(opponent).argmax(1), opponent)
    assert highest - 1e-6 < without_clock.mean_return <= highest + 1e-9
    with pytest.raises(ValueError, match="read-only"):
        best_values(opponent)[0, 0] = 0


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1), opponent=st.sampled_from(OPPONENTS))
def test_no_policy_beats_the_ceiling(seed: int, share: float, opponent: str) -> None:
    exact = play_out(some_policy(seed, share, opponent), opponent)
    assert exact.mean_return <= ceiling(opponent) + 1e-9
    assert sum(exact.shares.values()) == pytest.approx(1, abs=1e-9) and min(exact.shares.values()) >= 0
    assert not exact.visits[~STARTS].any() and 1 <= exact.visits.sum() <= MAX_MOVES + 1e-9


@pytest.mark.parametrize("opponent", OPPONENTS)
@pytest.mark.parametrize("share", [0.0, 0.8, 0.97])
def test_exact_expectations_are_those_of_games_played(share: float, opponent: str) -> None:
    policy = some_policy(1, share, opponent)
    exact, n = play_out(policy, opponent), 20_000
    returns, ends = simulated(np.broadcast_to(policy, (MAX_MOVES, N_STATES)), opponent, n, seed=2)
    assert exact.mean_return == pytest.approx(returns.mean(), abs=4 * returns.std() / np.sqrt(n) + 1e-9)
    for outcome, expected in exact.shares.items():
        spread = np.sqrt(expected * (1 - expected) / n)
        assert np.mean(ends == outcome) == pytest.approx(expected, abs=4 * spread + 2 / n), outcome


def test_a_policy_may_depend_on_the_clock() -> None:
    policy = some_policy(3, 0.5, "smart")
    same = np.repeat(policy[None], MAX_MOVES, 0)
    assert play_out(same).mean_return == pytest.approx(play_out(policy).mean_return, abs=1e-9)
    hasty = np.repeat(policy[None], 3, 0)
    short = play_out(hasty, max_moves=3)
    assert short.visits.sum() <= 3 + 1e-9 and short.shares[Outcome.TIME_OUT] > 0.1
    with pytest.raises(ValueError, match=r"shape \[15625\] or \[50, 15625\], not \[3, 15625\]"):
        play_out(hasty)


def test_one_move_games_by_hand() -> None:
    """With a single move every start is worth its immediate outcome, and a time-out where nothing ends the game."""
    single = best_returns(1)
    mate = predicates()["mate_in_one"]
    assert (single.returns[0][mate & LEGAL] == 100).all() and (single.returns[0][~mate] == -100).all()
    exact = play_out(single.actions, max_moves=1)
    assert exact.shares[Outcome.CHECKMATE] == pytest.approx(START_PROBABILITIES[mate].sum(), abs=1e-12)
    assert exact.visits == pytest.approx(START_PROBABILITIES, abs=1e-15)


@pytest.mark.parametrize("opponent", OPPONENTS)
def test_mates_by_hand(opponent: str) -> None:
    values = best_values(opponent)
    in_one = board("a2", "c3", "c5")
    assert values[in_one].max() == 100 and values[in_one].argmax() == move("R N3")
    # Rd5 takes the d-file from the king on c1, the king on b3 the squares before him: Kb1 is forced, and Rd1 mates.
    start = board("e5", "b3", "c1")
    assert values[start].max() == values[start, move("R W1")] == 99
    rules = tables(opponent)
    forced = rules.replies[start, move("R W1"), : rules.n_replies[start, move("R W1")]].tolist()
    assert forced == [board("d5", "b3", "b1")] and rules.outcome[forced[0], move("R S4")] == Outcome.CHECKMATE
    in_two = predicates()["mate_in_two"] & STARTS
    assert (values[in_two].max(1) == 99).all()
    elsewhere = STARTS & ~in_two & ~predicates()["mate_in_one"]
    if opponent == "uniform":  # the smart king may walk into a mate in two that another defence avoids
        assert (values[elsewhere].max(1) < 98.9).all()
