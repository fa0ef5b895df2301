"""The Grid World: its rules, its four prompts over one sequence of moves, and the agent that makes them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.agents import Transitions
from envs.agents.q_learning import QLearningConfig, learn
from envs.game import TERMINAL
from envs.grid_world import ACTIONS, INSTRUCTION, GridWorld, GridWorldConfig, Variant, agent_moves

SHORT = GridWorldConfig(steps=80)
seeds = st.integers(0, 2**32 - 1)


def told(config: GridWorldConfig, seed: int = 0) -> GridWorld:
    """A rollout told to its end."""
    game = GridWorld(config, seed)
    while not game.done:
        game.observe()
        assert game.forced_action is not None
        game.act(game.forced_action)
    return game


def led(config: GridWorldConfig, moves: str) -> GridWorld:
    """A rollout with the given moves: l, r, u, d."""
    game = GridWorld(replace(config, steps=len(moves), closed_loop=True), 0)
    for move in moves:
        game.act("lrud".index(move))
    return game


def test_the_papers_prompt() -> None:
    """The example of the appendix: walls hold, down decreases y, the goal ends the episode."""
    game = led(GridWorldConfig(start_x=0, start_y=1, goal_x=1, goal_y=0), "ldrr")
    assert game.transcript().text == INSTRUCTION + (
        "Episode 0: You are at 0, 1. You go left. You get -1 points. You are at 0, 1. You go down. You get -1 points. "
        "You are at 0, 0. You go right. You get +1 points. You finished with -1 points.\n\n"
        "Episode 1: You are at 0, 1. You go right. You get -1 points. You finished with -1 points.\n\n"
    )
    assert [(step.state, step.next_state, step.done, step.reward) for step in game.steps] == [
        (5, 5, False, -1),
        (5, 0, False, -1),
        (0, TERMINAL, True, 1),
        (5, 6, False, -1),
    ]


@pytest.mark.parametrize(
    ("variant", "told"),
    [
        (Variant.SWAPPED, ("You get +1 points.", "You get -1 points. You finished with 0 points.")),
        (Variant.REMOVED, ("", "You finished.")),
    ],
)
def test_the_control_prompts(variant: Variant, told: tuple[str, str]) -> None:
    game = led(GridWorldConfig(variant, start_x=0, start_y=1, goal_x=1, goal_y=0), "dr")
    first, last = (f" {words}" if words else "" for words in told)
    assert game.transcript().text == (
        f"{INSTRUCTION}Episode 0: You are at 0, 1. You go down.{first} You are at 0, 0. You go right.{last}\n\n"
    )
    assert [step.reward for step in game.steps] == ([1, -1] if variant is Variant.SWAPPED else [-1, 1])


@given(seed=seeds)
def test_all_prompts_tell_the_same_moves(seed: int) -> None:
    games = {variant: told(replace(SHORT, variant=variant), seed) for variant in Variant}
    moves = {variant: [step._replace(reward=0) for step in game.steps] for variant, game in games.items()}
    assert all(steps == moves[Variant.TRUE] for steps in moves.values())
    rewards = {variant: np.array([step.reward for step in game.steps]) for variant, game in games.items()}
    assert (rewards[Variant.REMOVED] == rewards[Variant.TRUE]).all()
    assert (rewards[Variant.SWAPPED] == -rewards[Variant.TRUE]).all()
    assert "points." not in games[Variant.REMOVED].transcript().text
    for variant in (Variant.TRUE, Variant.RANDOM, Variant.SWAPPED):
        shown = re.findall(r"You get ([+-]1) points", games[variant].transcript().text)
        assert [int(reward) for reward in shown] == rewards[variant].tolist()


def test_random_rewards_are_random() -> None:
    rewards = [step.reward for seed in range(20) for step in told(replace(SHORT, variant=Variant.RANDOM), seed).steps]
    assert np.mean(rewards) == pytest.approx(0, abs=0.1) and set(rewards) == {-1.0, 1.0}


@given(seed=seeds, cap=st.integers(1, 30))
def test_every_rollout_is_a_walk_on_the_grid(seed: int, cap: int) -> None:
    config = replace(SHORT, cap=cap)
    game = told(config, seed)
    assert len(game.steps) == 80 and all(step.forced for step in game.steps)
    state, episode, moved = config.start, 0, 0
    for step in game.steps:
        assert (step.state, step.episode) == (state, episode) and step.state != config.goal
        reached = config.move(step.state, step.action)
        (y, x), (to_y, to_x) = divmod(step.state, 5), divmod(reached, 5)
        assert abs(y - to_y) + abs(x - to_x) <= 1
        assert step.done == (reached == config.goal) and step.reward == (1 if step.done else -1)
        assert step.next_state == (TERMINAL if step.done else reached)
        moved += 1
        over = step.done or moved == cap
        state, episode, moved = (config.start, episode + 1, 0) if over else (reached, episode, moved)
    spans = game.transcript().decisions
    assert len(spans) == 80
    assert {game.transcript().text[span.start : span.end] for span in spans} == {"go"}
    after = [game.transcript().text[span.end :] for span in spans]
    assert all(rest.startswith(f"{ACTIONS[step.action]}.") for rest, step in zip(after, game.steps, strict=True))


def test_pieces_observed_make_the_text() -> None:
    game = GridWorld(SHORT, 3)
    text = ""
    while not game.done:
        text += game.observe()
        assert text.endswith(" You go")
        game.act(game.forced_action or 0)
    assert game.transcript().text.startswith(text)


@given(seed=seeds)
def test_without_exploration_every_move_has_the_highest_value(seed: int) -> None:
    """The agent is the regressor: its moves are greedy in the values that the same learner replays."""
    game = told(replace(SHORT, epsilon=0.0), seed)
    _, values = learn(Transitions.from_steps(game.steps), 4, QLearningConfig(0.1, 0.99, window=None))
    chosen = values[np.arange(80), [step.action for step in game.steps]]
    assert chosen == pytest.approx(values.max(1), abs=1e-12)


def test_exploration_falls_linearly_over_fifteen_episodes() -> None:
    config = GridWorldConfig()
    assert [config.exploration(episode) for episode in (0, 3, 15, 40)] == pytest.approx([1, 0.8, 0, 0])


def test_the_defaults_reproduce_the_papers_timing() -> None:
    """Fig 4A: the agent's moves are unpredictable at first and settled by the end (§11: a cap of 20 moves)."""
    settled = []
    for seed in range(20):
        moves = agent_moves(GridWorldConfig(), np.random.default_rng(seed))
        assert len(moves) == 320
        game = told(GridWorldConfig(), seed)
        settled.append([step.done for step in game.steps])
    found = np.array(settled, dtype=float)
    assert found[:, :80].mean() < 0.08 < 0.12 < found[:, -60:].mean()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"goal_x": 5}, "goal_x (5)"),
        ({"start_x": 3, "start_y": 0}, "start lies on the goal"),
        ({"cap": 0}, "at least 1"),
        ({"epsilon": 1.5}, "epsilon"),
        ({"alpha": 0.0}, "alpha"),
        ({"variant": "false"}, "false"),
    ],
)
def test_settings_out_of_range_are_named(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named)):
        GridWorldConfig(**change)  # type: ignore[arg-type]


def test_moves_that_are_not_there_and_moves_after_the_end() -> None:
    game = GridWorld(replace(SHORT, steps=1), 0)
    with pytest.raises(ValueError, match="there is no action 4"):
        game.act(4)
    game.act(0)
    with pytest.raises(ValueError, match="the rollout is over"):
        game.act(0)
