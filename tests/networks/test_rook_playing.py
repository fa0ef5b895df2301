"""Games played side by side are the games of the task, one by one, and their mean is the exact expectation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from envs.rook_endgame import ACTIONS, MAX_MOVES, N_STATES, Outcome, Variant, encode, observations
from envs.rook_games import RookEndgameConfig, RookGames
from envs.rook_values import play_out, value_iteration
from jobs.networks.evaluate import Played, follow, greedy_policy, random_player, sample_games
from jobs.networks.q_network import untrained


@pytest.mark.parametrize("opponent", list(Variant))
def test_side_by_side_they_go_as_one_by_one(opponent: Variant) -> None:
    policy = greedy_policy(untrained(75, (16,), 24, seed=4))
    rollout = RookGames(RookEndgameConfig(opponent, moves=300), seed=7)
    while not rollout.done:
        rollout.act(int(policy[rollout.state]))
    n = len(rollout.outcomes)
    played = sample_games(follow(policy), n, 7, opponent)
    assert n > 5
    assert played.outcomes.tolist() == rollout.outcomes
    for game in range(n):
        steps = [step for step in rollout.steps if step.episode == game]
        assert played.moves[game] == len(steps)
        assert played.returns[game] == sum(step.reward for step in steps)


@pytest.mark.parametrize("opponent", list(Variant))
def test_their_mean_is_the_exact_expectation(opponent: Variant) -> None:
    policy = greedy_policy(untrained(75, (16,), 24, seed=4))
    exact, played = play_out(policy, opponent), sample_games(follow(policy), 4000, 0, opponent)
    assert abs(played.returns.mean() - exact.mean_return) < 2 * played.half_width()
    best = value_iteration(0.98, opponent).argmax(axis=1)
    assert sample_games(follow(best), 500, 0, opponent).share(Outcome.CHECKMATE) > 0.99


def test_every_player_meets_the_same_boards() -> None:
    met: list[np.ndarray] = []

    def to_the_east(states: np.ndarray) -> np.ndarray:
        met.append(states.copy())
        return np.zeros(len(states), dtype=np.int64)

    for seed in (0, 0, 1):
        sample_games(to_the_east, 20, seed)
    first, again, other = (boards for boards in met if len(boards) == 20)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_game_that_goes_on_for_fifty_moves_is_lost() -> None:
    to_and_fro = np.zeros(N_STATES, dtype=np.int64)
    rook_moves = np.array([ACTIONS.index("R E1"), ACTIONS.index("R W1")])
    to_and_fro[:] = rook_moves[np.arange(N_STATES) % 5 % 2]
    played = sample_games(follow(to_and_fro), 2000, 0)
    late = played.outcomes == Outcome.TIME_OUT
    assert late.any() and (played.moves[late] == MAX_MOVES).all()
    assert (played.returns[late] == -(MAX_MOVES - 1) - 100).all()
    assert (played.moves[~late] <= MAX_MOVES).all()


def test_random_players_choose_among_all_moves() -> None:
    chosen = random_player(0)(np.zeros(5000, dtype=np.int64))
    assert np.bincount(chosen, minlength=24).min() > 100 and chosen.max() == 23


def test_the_greedy_policy_takes_the_highest_q_value() -> None:
    network = untrained(75, (8, 8), 24, seed=1)
    policy = greedy_policy(network)
    board = int(encode(0, 7, 24))
    with torch.no_grad():
        q_values = network.q_values(torch.from_numpy(observations([board])))
    assert policy.shape == (N_STATES,) and policy[board] == int(q_values.argmax())


def test_intervals_and_shares() -> None:
    played = Played(
        returns=np.array([90.0, -100.0, 95.0, -149.0]),
        outcomes=np.array([Outcome.CHECKMATE, Outcome.ILLEGAL, Outcome.CHECKMATE, Outcome.TIME_OUT]),
        moves=np.array([11, 1, 6, 50]),
    )
    assert played.share(Outcome.CHECKMATE) == 0.5 and played.share(Outcome.STALEMATE) == 0
    assert played.half_width() == pytest.approx(1.96 * np.std([90, -100, 95, -149], ddof=1) / 2)
