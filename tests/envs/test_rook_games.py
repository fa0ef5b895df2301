"""Rollouts of the rook endgame, and its Gymnasium environments against Gymnasium's own checks and vectoriser."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.game import TERMINAL
from envs.rook_endgame import (
    ACTIONS,
    MAX_MOVES,
    N_ACTIONS,
    N_STATES,
    REWARDS,
    STARTS,
    Outcome,
    decode,
    observations,
    square_name,
    tables,
)
from envs.rook_games import (
    RookEndgame,
    RookEndgameConfig,
    RookEndgameVector,
    RookGames,
    deal,
    whole_game,
)
from envs.rook_values import value_iteration
from tests.envs.plain_rook import board, move

ORDINARY = (tables("smart").outcome == Outcome.ORDINARY).argmax(1)
"""A policy that never ends a game of its own accord."""


def mixed(state: int, chance: float) -> int:
    """Sensible most of the time, so that games end in every way."""
    return int(ORDINARY[state]) if chance < 0.97 else int(chance * 1e6) % N_ACTIONS


def played(seed: int, moves: int = 120, variant: str = "smart") -> RookGames:
    game = RookGames(RookEndgameConfig(variant, moves), seed)  # type: ignore[arg-type]
    chances = np.random.default_rng((seed, 1)).random(moves)
    while not game.done:
        game.act(mixed(game.state, chances[len(game.steps)]))
    return game


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), variant=st.sampled_from(["smart", "uniform"]))
def test_a_rollout_is_games_by_the_rules_one_after_another(seed: int, variant: str) -> None:
    game = played(seed, variant=variant)
    rules = tables(variant)
    assert len(game.steps) == game.n_decisions == 120
    episode, moved, state = 0, 0, deal(seed, 0)[0]
    ends: list[Outcome] = []
    for step in game.steps:
        assert (step.episode, step.state, step.forced) == (episode, state, False)
        moved += 1
        outcome = Outcome(rules.outcome[state, step.action])
        if outcome is Outcome.ORDINARY and moved == MAX_MOVES:
            outcome = Outcome.TIME_OUT
        assert step.reward == REWARDS[outcome] and step.done == (outcome is not Outcome.ORDINARY)
        if step.done:
            ends.append(outcome)
            assert step.next_state == TERMINAL
            episode, moved, state = episode + 1, 0, deal(seed, episode + 1)[0]
        else:
            assert step.next_state in rules.replies[state, step.action]
            state = step.next_state
    assert game.outcomes == ends


def test_games_come_from_the_seed_whoever_plays() -> None:
    boards = [deal(7, game)[0] for game in range(50)]
    assert len(set(boards)) > 40 and STARTS[boards].all()
    assert boards != [deal(8, game)[0] for game in range(50)]
    hasty, patient = RookGames(RookEndgameConfig(moves=30), 7), RookGames(RookEndgameConfig(moves=120), 7)
    while not hasty.done:
        hasty.act(move("K E") if decode(hasty.state)[1] % 5 == 4 else move("K W"))  # illegal, or soon so
    while not patient.done:
        patient.act(int(ORDINARY[patient.state]))
    for game in (hasty, patient):
        first = {step.episode: step.state for step in reversed(game.steps)}
        assert first == {number: boards[number] for number in first}
    assert hasty.steps[-1].episode > patient.steps[-1].episode > 0


def test_the_text_tells_boards_moves_and_outcomes() -> None:
    game = played(3, 200)
    transcript = game.transcript()
    assert len(transcript.decisions) == 200
    for span, step in zip(transcript.decisions, game.steps, strict=True):
        assert transcript.text[span.start : span.end] == "play"
        assert transcript.text[span.end :].startswith(f" {ACTIONS[step.action]}.")
        rook, king, black = (square_name(int(square)) for square in decode(step.state))
        assert transcript.text[: span.end].endswith(f" Rook {rook}, king {king}, black king {black}. You play")
    told = re.findall(r" ([A-Z][a-z-]+): ([+-]\d+) points", transcript.text)
    expected = [(o.name.capitalize().replace("_", "-"), f"{REWARDS[o]:+.0f}") for o in game.outcomes]
    assert told == expected and len({o for o, _ in told}) >= 2
    assert transcript.text.count("Game ") == len({step.episode for step in game.steps})


def test_what_is_observed_makes_the_text() -> None:
    game = RookGames(RookEndgameConfig(moves=20), 5)
    text = ""
    while not game.done:
        text += game.observe()
        assert text.endswith("You play") and (game.observation == observations(game.state)).all()
        game.act(int(ORDINARY[game.state]))
    assert game.transcript().text.startswith(text)


def test_a_whole_game_is_the_first_of_a_rollout() -> None:
    best = value_iteration(0.98).argmax(1)
    for policy in (best, ORDINARY):
        game, rollout = whole_game(RookEndgameConfig(), 11), RookGames(RookEndgameConfig(moves=60), 11)
        while not game.done:
            game.act(int(policy[game.state]))
            rollout.act(int(policy[rollout.state]))
        assert game.steps == rollout.steps and len(game.outcomes) == 1 and game.steps[-1].done
        with pytest.raises(ValueError, match="the rollout is over"):
            game.act(0)
    assert len(game.steps) == MAX_MOVES and game.outcomes == [Outcome.TIME_OUT]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="kind"):
        RookEndgameConfig("kind")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        RookEndgameConfig(moves=0)
    game = RookGames(RookEndgameConfig(moves=1), 0)
    with pytest.raises(ValueError, match="there is no action 24"):
        game.act(24)
    game.act(0)
    with pytest.raises(ValueError, match="the rollout is over: all 1 moves"):
        game.act(0)


@pytest.mark.parametrize("opponent", ["smart", "uniform"])
def test_gymnasium_finds_nothing_wrong(opponent: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # render modes are then tested by making the environment anew, from a registered name
        warnings.filterwarnings("ignore", message=".*not having a spec")
        check_env(RookEndgame(opponent, render_mode="ansi"))


def ends(opponent: str, start: int, actions: list[int], seed: int = 0) -> tuple[list[float], dict[str, Any], bool]:
    """Rewards, the last info and whether the game had ended."""
    env = RookEndgame(opponent)
    env.reset(seed=seed, options={"state": start})
    rewards, info, over = [], {}, False
    for action in actions:
        seen, reward, over, truncated, info = env.step(np.int64(action))
        assert not truncated and (seen == observations(info["state"])).all()
        rewards.append(reward)
    return rewards, info, over


def test_every_end_of_a_game() -> None:
    mate = ends("smart", board("a2", "c3", "c5"), [move("R N3")])
    assert mate == ([100.0], {"state": board("a5", "c3", "c5"), "outcome": Outcome.CHECKMATE}, True)
    illegal = ends("smart", board("a2", "c3", "c5"), [move("R W1")])
    assert illegal == ([-100.0], {"state": board("a2", "c3", "c5"), "outcome": Outcome.ILLEGAL}, True)
    blunder = ends("smart", board("a2", "c3", "c5"), [move("K N")])
    assert blunder == ([-100.0], {"state": board("a2", "c4", "c5"), "outcome": Outcome.BLUNDER}, True)
    stalemate = ends("smart", board("c4", "a3", "a1"), [move("R W1")])
    assert stalemate == ([-100.0], {"state": board("b4", "a3", "a1"), "outcome": Outcome.STALEMATE}, True)
    there_and_back = [move("K S"), move("K N")] * (MAX_MOVES // 2)
    rewards, info, over = ends("smart", board("a1", "a3", "e5"), there_and_back)
    assert rewards == [-1.0] * (MAX_MOVES - 1) + [-100.0] and over and info["outcome"] == Outcome.TIME_OUT
    assert ends("smart", board("a1", "a3", "e5"), there_and_back[:-1])[2] is False


def test_seeds_give_the_same_game_again() -> None:
    def boards(seed: int) -> list[int]:
        env = RookEndgame("uniform")
        seen = [env.reset(seed=seed)[1]["state"]]
        for _ in range(20):
            seen.append(env.step(np.int64(ORDINARY[seen[-1]]))[4]["state"])
        return seen

    assert boards(1) == boards(1) != boards(2)


def test_the_board_is_drawn() -> None:
    env = RookEndgame(render_mode="ansi")
    with pytest.raises(ValueError, match="call reset first"):
        env.render()
    env.reset(options={"state": board("c1", "a2", "e5")})
    assert env.render() == "5 . . . . k\n4 . . . . .\n3 . . . . .\n2 K . . . .\n1 . . R . .\n  a b c d e"
    assert RookEndgame().render_mode is None
    with pytest.raises(ValueError, match="'human'"):
        RookEndgame(render_mode="human")


def test_environments_refuse_what_they_cannot_do() -> None:
    env, many = RookEndgame(), RookEndgameVector(2)
    for step in (lambda: env.step(np.int64(0)), lambda: many.step(np.array([0, 0]))):
        with pytest.raises(ValueError, match="call reset first"):
            step()
    for state, said in ((N_STATES, "from 0 to 15624"), (0, "on one square"), (1.5, "a number")):
        for reset in (env.reset, many.reset):
            with pytest.raises(ValueError, match=said):
                reset(options={"state": state})
    env.reset(options={"state": board("a2", "c3", "c5")})
    env.step(np.int64(move("R N3")))
    with pytest.raises(ValueError, match="call reset first"):
        env.step(np.int64(0))
    many.reset(seed=0)
    for actions in ([0], [0, 24], [-1, 0]):
        with pytest.raises(ValueError, match="2 numbers from 0 to 23"):
            many.step(np.array(actions))
    with pytest.raises(ValueError, match="at least 1"):
        RookEndgameVector(0)


def test_many_games_follow_gymnasiums_conventions() -> None:
    """Spaces, kinds and masks are those of Gymnasium's own vectoriser; boards and rewards follow the rules."""
    n = 16
    own = RookEndgameVector(n)
    peer = SyncVectorEnv([RookEndgame] * n, autoreset_mode=AutoresetMode.SAME_STEP)
    assert own.metadata["autoreset_mode"] == peer.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert (own.observation_space, own.action_space) == (peer.observation_space, peer.action_space)
    assert (own.single_observation_space, own.single_action_space) == (
        peer.single_observation_space,
        peer.single_action_space,
    )
    rng = np.random.default_rng(0)
    seen, info = own.reset(seed=0)
    # both play the same boards with the same moves wherever chance has no part
    other, other_info = peer.reset(seed=0)
    assert info.keys() == other_info.keys() and seen.dtype == other.dtype and seen.shape == other.shape
    ended_once = False
    for _ in range(60):
        states, others = info["state"], other_info["state"]
        actions = np.array([mixed(s, c) for s, c in zip(states, rng.random(n), strict=True)])
        seen, rewards, over, truncated, info = own.step(actions)
        moves = np.array([mixed(s, c) for s, c in zip(others, rng.random(n), strict=True)])
        other, other_rewards, other_over, other_truncated, other_info = peer.step(moves)
        assert seen in own.observation_space and (seen == observations(info["state"])).all()
        for ours, theirs in (
            (rewards, other_rewards),
            (over, other_over),
            (truncated, other_truncated),
        ):
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert not truncated.any() and info["_state"].all() and (info["_outcome"] == ~over).all()
        assert (info["outcome"][~over] == Outcome.ORDINARY).all() and (rewards[~over] == -1).all()
        assert STARTS[info["state"]].all()
        if over.any() and other_over.any():
            ended_once = True
            assert set(info) == set(other_info) and set(info["final_info"]) == set(other_info["final_info"])
            assert info["final_obs"].dtype == other_info["final_obs"].dtype == object
            for name in ("_final_obs", "_final_info"):
                assert (info[name] == over).all() and (other_info[name] == other_over).all()
            final = info["final_info"]
            assert (final["_outcome"] == over).all() and (rewards[over] == REWARDS[final["outcome"][over]]).all()
            for game in range(n):
                if over[game]:
                    assert (info["final_obs"][game] == observations(final["state"][game])).all()
                else:
                    assert info["final_obs"][game] is None
    assert ended_once


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 9))
def test_many_games_are_each_a_game(seed: int, n: int) -> None:
    many, rules = RookEndgameVector(n, "uniform"), tables("uniform")
    states = many.reset(seed=seed)[1]["state"]
    moved, chance = np.zeros(n, dtype=int), np.random.default_rng(seed)
    for _ in range(70):
        actions = np.array([mixed(s, c) for s, c in zip(states, chance.random(n), strict=True)])
        _, rewards, over, _, info = many.step(actions)
        moved += 1
        for game in range(n):
            outcome = rules.outcome[states[game], actions[game]]
            late = outcome == Outcome.ORDINARY and moved[game] == MAX_MOVES
            assert over[game] == (outcome != Outcome.ORDINARY or late)
            assert rewards[game] == REWARDS[Outcome.TIME_OUT if late else outcome]
            if not over[game]:
                assert info["state"][game] in rules.replies[states[game], actions[game]]
        states = info["state"]
        moved[over] = 0


def test_seeds_and_boards_of_many_games() -> None:
    first, again, other = (RookEndgameVector(5).reset(seed=seed)[1]["state"].tolist() for seed in (3, 3, 4))
    assert first == again != other
    many = RookEndgameVector(3)
    chosen = [board("a2", "c3", "c5"), board("a1", "a3", "e5"), board("c4", "a3", "a1")]
    seen, info = many.reset(options={"state": np.array(chosen)})
    assert info["state"].tolist() == chosen and (seen == observations(np.array(chosen))).all()
    assert many.reset(options={"state": chosen[0]})[1]["state"].tolist() == chosen[:1] * 3
