"""stable-baselines3 sees the same games as Gymnasium does."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from envs.rook_games import RookEndgame, RookEndgameVector
from jobs.networks.vec_env import VectorGames


def test_steps_are_gymnasiums_with_rewards_scaled() -> None:
    ours, theirs = VectorGames(RookEndgameVector(16), reward_scale=0.01), RookEndgameVector(16)
    ours.seed(3)
    seen, (expected, _) = ours.reset(), theirs.reset(seed=3)
    np.testing.assert_array_equal(seen, expected)
    rng, finished = np.random.default_rng(0), 0
    for _ in range(30):
        actions = rng.integers(24, size=16)
        seen, rewards, over, infos = ours.step(actions)
        expected, raw, terminated, _, info = theirs.step(actions)
        np.testing.assert_array_equal(seen, expected)
        np.testing.assert_array_equal(over, terminated)
        np.testing.assert_allclose(rewards, raw / 100, rtol=1e-6)
        for game, told in enumerate(infos):
            assert bool(told) == bool(over[game])
            if told:
                finished += 1
                assert not told["TimeLimit.truncated"]
                np.testing.assert_array_equal(told["terminal_observation"], info["final_obs"][game])
    assert finished > 50


def test_a_game_that_is_only_cut_off_says_so() -> None:
    def one() -> gymnasium.Env[np.ndarray, np.int64]:
        return gymnasium.wrappers.TimeLimit(RookEndgame(), max_episode_steps=1)

    games = VectorGames(SyncVectorEnv([one] * 64, autoreset_mode=AutoresetMode.SAME_STEP))
    games.seed(0)
    games.reset()
    _, rewards, over, infos = games.step(np.zeros(64, dtype=np.int64))
    assert over.all() and {told["TimeLimit.truncated"] for told in infos} == {True, False}
    for reward, told in zip(rewards, infos, strict=True):
        assert told["TimeLimit.truncated"] == (reward == -1)


def test_the_seed_serves_one_reset() -> None:
    games = VectorGames(RookEndgameVector(32))
    games.seed(1)
    first, second = games.reset(), games.reset()
    games.seed(1)
    np.testing.assert_array_equal(games.reset(), first)
    assert not np.array_equal(first, second)


def test_games_that_reset_a_step_later_are_refused() -> None:
    with pytest.raises(ValueError, match="in the step that ends it"):
        VectorGames(SyncVectorEnv([RookEndgame], autoreset_mode=AutoresetMode.NEXT_STEP))
