"""Histories to test agents on: random ones, the paper's example runs, and simulated players of the task."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import softmax

from envs.agents import Agent, Transitions
from envs.game import Step
from envs.two_step import TwoStep, TwoStepConfig
from jobs.published import curve


@pytest.fixture(scope="session")
def random_rollout() -> Callable[..., Transitions]:
    """A rollout of a random process: repeated states, episodes of varying length, the last one cut off."""

    def make(seed: int, n: int = 40, n_states: int = 4, n_actions: int = 3) -> Transitions:
        rng = np.random.default_rng(seed)
        done = rng.random(n) < 0.3
        done[-1] = False
        return Transitions(
            episode=np.concatenate([[0], np.cumsum(done)[:-1]]),
            state=rng.integers(n_states, size=n),
            action=rng.integers(n_actions, size=n),
            reward=rng.normal(size=n),
            next_state=np.where(done, -1, rng.integers(n_states, size=n)),
            done=done,
        )

    return make


@pytest.fixture(scope="session")
def two_step_rollout() -> Callable[..., Transitions]:
    """Two-Step transitions from (branch, leaf) choices, given what branch b pays at leaf l in episode e."""

    def make(choices: list[tuple[int, int, int]], reward_of_episode: Callable[[int], float]) -> Transitions:
        steps = []
        for episode, (first, branch, second) in enumerate(choices):
            steps.append(Step(episode, 0, first, 0.0, 1 + branch, False, False))
            steps.append(Step(episode, 1 + branch, second, reward_of_episode(episode), -1, True, False))
        return Transitions.from_steps(steps)

    return make


@pytest.fixture(scope="session")
def published_runs(
    two_step_rollout: Callable[..., Transitions],
) -> dict[tuple[str, int], tuple[Transitions, np.ndarray]]:
    """Fig 3: for each (variant, run) the decoded history and the published, normalised TD curve [60]."""
    runs = {}
    for key, run in curve("td_in_llms", "fig3_runs").groupby(["variant", "run"], sort=False):
        columns = run[["first_action", "branch", "second_action"]]
        choices = [tuple(map(int, row)) for row in columns.itertuples(index=False)]
        published = run[["td_at_first_pick", "td_at_second_pick"]].to_numpy().ravel()
        runs[key] = two_step_rollout(choices, run["reward"].to_numpy(float).__getitem__), published
    return runs


@pytest.fixture(scope="session")
def play_two_step() -> Callable[..., tuple[list[Transitions], list[np.ndarray]]]:
    """Rollouts of the standard task by an agent's softmax, and which of their decisions were free."""

    def play(agent: Agent, beta: float, n_rollouts: int, seed: int) -> tuple[list[Transitions], list[np.ndarray]]:
        rng = np.random.default_rng(seed)
        rollouts, scored = [], []
        for index in range(n_rollouts):
            game = TwoStep(TwoStepConfig(), seed=1000 * seed + index)
            while not game.done:
                action = game.forced_action
                if action is None:
                    state = game.steps[-1].next_state if not game.steps[-1].done else 0
                    unseen = Step(game.steps[-1].episode + 1, state, 0, 0.0, -1, True, False)
                    values = agent.action_values(Transitions.from_steps([*game.steps, unseen]))[-1]
                    action = int(rng.choice(2, p=softmax(beta * values)))
                game.act(action)
            rollouts.append(Transitions.from_steps(game.steps))
            scored.append(np.array([not step.forced for step in game.steps]))
        return rollouts, scored

    return play
