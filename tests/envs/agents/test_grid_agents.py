"""What the agents make of a grid: the optimum that theory gives, and episodes that end by a time-out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from envs import TASKS
from envs.agents import BestEpisode, Context, Place, QLearning, QLearningConfig, Repetition, Transitions
from envs.agents.behaviour import BehaviourModel, compare, standard_models
from envs.agents.q_learning import learn
from envs.game import Step
from envs.grid_world import GridWorldConfig

ACTIONS = TASKS["grid_world"].actions
SIZE, START, GOAL = 5, (1, 4), (3, 0)


def told(seed: int, variant: str = "true") -> Transitions:
    """A rollout of the task."""
    game = TASKS["grid_world"].make(GridWorldConfig(variant), seed)
    while not game.done:
        game.observe()
        game.act(game.forced_action)
    return Transitions.from_steps(game.steps)


def moved(cell: tuple[int, int], action: int) -> tuple[int, int]:
    dx, dy = [(-1, 0), (1, 0), (0, 1), (0, -1)][action]
    x, y = cell[0] + dx, cell[1] + dy
    return (x, y) if 0 <= x < SIZE and 0 <= y < SIZE else cell


def optimal_values(gamma: float) -> dict[tuple[tuple[int, int], int], float]:
    """Value iteration: -1 a move, +1 and the end on entering the goal."""
    cells = [(x, y) for x in range(SIZE) for y in range(SIZE) if (x, y) != GOAL]
    q = {(cell, action): 0.0 for cell in cells for action in range(4)}
    for _ in range(100):
        best = {cell: max(q[cell, action] for action in range(4)) for cell in cells} | {GOAL: 2.0 / gamma}
        q = {(cell, action): -1 + gamma * best[moved(cell, action)] for cell, action in q}  # -1 + γ (2 / γ) = +1
    return q


@pytest.mark.parametrize("window", [1, 8])
def test_q_learning_finds_the_optimum_of_value_iteration(window: int) -> None:
    """From random moves in episodes that start anywhere and mostly time out: learners look ahead over a time-out."""
    rng = np.random.default_rng(0)
    starts = [(x, y) for x in range(SIZE) for y in range(SIZE) if (x, y) != GOAL]
    steps, episode, length, cell = [], 0, 0, START
    for action in rng.integers(4, size=12_000):
        reached = moved(cell, int(action))
        found = reached == GOAL
        state, after = (SIZE * y + x for x, y in (cell, reached))
        steps.append(Step(episode, state, int(action), 1.0 if found else -1.0, -1 if found else after, found, True))
        cell, length = reached, length + 1
        if found or length == 20:
            cell, episode, length = starts[rng.integers(24)], episode + 1, 0
    t = Transitions.from_steps(steps)
    assert (t.ends & ~t.done).sum() > 100
    values = learn(t, 4, QLearningConfig(0.5, 0.99, window))[1]
    optimum = optimal_values(0.99)
    assert optimum[START, 3] == pytest.approx(0.99**5 - sum(0.99**n for n in range(5)))
    last = {state: values[np.flatnonzero(t.state == state)[-1]] for state in set(t.state)}
    assert len(last) == 24
    for state, learned in last.items():
        best = [optimum[(state % SIZE, state // SIZE), action] for action in range(4)]
        np.testing.assert_allclose(learned, best, atol=1e-3, err_msg=f"state {state}")


@pytest.mark.parametrize("seed", range(3))
def test_the_regressor_is_the_agent_that_made_the_moves(seed: int) -> None:
    """Once exploration is over every move is one of the highest value, time-outs before it included."""
    t = told(seed)
    signals = QLearning(ACTIONS, QLearningConfig(window=None)).replay(t)
    greedy = t.episode >= GridWorldConfig().epsilon_episodes
    assert greedy.any() and (t.ends & ~t.done).any()
    np.testing.assert_array_equal(signals["q_chosen"][greedy], signals["q_max"][greedy])
    assert (signals["q_chosen"] < signals["q_max"]).any()
    np.testing.assert_array_equal(signals["td_error"], signals["td_error_full"])


TIMED_OUT = Transitions.from_steps(
    [
        Step(0, 6, 0, -1.0, 6, False, True),
        Step(0, 6, 2, -1.0, 11, False, True),  # the cap: the episode is over, though not done
        Step(1, 6, 3, -1.0, 1, False, True),
        Step(1, 1, 1, 1.0, -1, True, True),
        Step(2, 6, 1, 5.0, 7, False, True),
        Step(2, 7, 1, 5.0, 8, False, True),  # another, and the best so far
        Step(3, 6, 2, -1.0, 11, False, True),
        Step(3, 11, 2, -1.0, 16, False, True),  # cut off by the end of the rollout
    ]
)


def test_an_episode_that_timed_out_is_finished() -> None:
    ends, returns = TIMED_OUT.finished_episodes()
    assert ends.tolist() == [1, 3, 5]
    assert returns.tolist() == [-2, 0, 10]


def test_the_best_episode_may_have_timed_out() -> None:
    agent = BestEpisode(ACTIONS)
    assert agent.best_actions(TIMED_OUT).tolist() == [-1, -1, 2, -1, 3, -1, 1, -1]
    signals = agent.replay(TIMED_OUT)
    assert signals["best_return"].tolist() == [0, 0, -2, -2, 0, 0, 10, 10]
    assert signals["best_up"].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert signals["best_right"].tolist() == [0, 0, 0, 0, 0, 0, 1, 0]


def test_covariates_follow_episodes_not_ends() -> None:
    signals = Context(recency=0.5).replay(TIMED_OUT) | Place().replay(TIMED_OUT)
    assert signals["episode"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert signals["episode_step"].tolist() == [0, 1] * 4
    assert signals["is_second_pick"].tolist() == [0, 1] * 4
    assert signals["previous_reward"].tolist() == [0, -1, -1, -1, 1, 5, 5, -1]
    assert signals["last_reward"].tolist() == [0, 0, -2, -2, 0, 0, 10, 10]
    assert signals["max_so_far"].tolist() == [0, 0, -2, -2, 0, 0, 10, 10]
    assert signals["recency_reward"].tolist() == [0, 0, -1, -1, -0.5, -0.5, 4.75, 4.75]


def test_values_look_ahead_over_a_time_out() -> None:
    """The last move before the cap is worth what the cell it reached is worth."""
    steps = [
        Step(0, 1, 0, 10.0, -1, True, True),
        Step(1, 0, 1, -1.0, 1, False, True),
        Step(2, 0, 0, 0.0, 0, False, True),
    ]
    values = learn(Transitions.from_steps(steps), 2, QLearningConfig(1.0, 0.5, window=1))[1]
    assert values[2].tolist() == [0, -1 + 0.5 * 10]


def test_repetition_counts_four_actions(random_rollout: Callable[..., Transitions]) -> None:
    t = random_rollout(0, n_states=25, n_actions=4, n=200)
    signals = Repetition(ACTIONS).replay(t)
    for index, action in enumerate(ACTIONS):
        before = [((t.state[:n] == t.state[n]) & (t.action[:n] == index)).sum() for n in range(200)]
        assert signals[f"count_{action}"].tolist() == before


def test_behaviour_models_take_four_actions() -> None:
    """The learner that made the moves explains those after exploration; uniform choices cost ln 4 each."""
    rollouts = [told(seed) for seed in range(4)]
    scored = [t.episode >= GridWorldConfig().epsilon_episodes for t in rollouts]
    model = BehaviourModel("q_learning", QLearning(ACTIONS, QLearningConfig(window=None)))
    models = [model, *(rival for rival in standard_models(ACTIONS) if rival.name != "q_learning")]
    fits = {f.model: f for f in compare(rollouts, scored, models, np.random.default_rng(0))}
    assert fits["chance"].nll == pytest.approx(sum(mask.sum() for mask in scored) * np.log(4))
    assert fits["q_learning"].nll < fits["chance"].nll / 2
    assert all(fits["q_learning"].nll < fits[rival].nll for rival in fits if rival != "q_learning")
