"""A Q-learner that acts: self-play baselines, and choices with known parameters to recover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from envs.agents.q_learning import QLearningConfig, windowed_update
from envs.agents.transitions import FloatArray


class Policy(Protocol):
    """Turns the values of one state's actions into choice probabilities."""

    def probabilities(self, values: FloatArray) -> FloatArray:
        """[n_actions] to [n_actions], summing to 1."""


@dataclass(frozen=True)
class Softmax:
    """Choice probabilities proportional to exp(beta · value)."""

    beta: float = 1.0
    """Inverse temperature; 0 is uniformly random."""

    def probabilities(self, values: FloatArray) -> FloatArray:
        weights: FloatArray = softmax(self.beta * values)
        return weights


@dataclass(frozen=True)
class EpsilonGreedy:
    """A uniformly random action with probability epsilon, otherwise the best (ties shared)."""

    epsilon: float = 0.1
    """Probability of a random action, in [0, 1]."""

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon must lie in [0, 1], not {self.epsilon}")

    def probabilities(self, values: FloatArray) -> FloatArray:
        best = values == values.max()
        return np.asarray(self.epsilon / values.size + (1 - self.epsilon) * best / best.sum())


ONLINE = QLearningConfig(window=1)
"""Textbook Q-learning: every transition is learned from once."""


class QLearner:
    """Q-learning in closed loop, with the same windowed update as the regressor.

    Args:
        n_states: number of states of the task.
        n_actions: number of actions in every state.
        config: learning rate, discount and replayed window; the default learns from single transitions.
        policy: how values become choices.
    """

    def __init__(
        self,
        n_states: int,
        n_actions: int,
        config: QLearningConfig = ONLINE,
        policy: Policy = Softmax(),
    ) -> None:
        self.table = np.zeros((n_states, n_actions))
        self.config = config
        self.policy = policy
        dtypes = (np.int64, np.int64, np.float64, np.int64, np.bool_)
        self._history: list[NDArray[Any]] = [np.zeros(0, dtype) for dtype in dtypes]

    def act(self, state: int, rng: np.random.Generator) -> int:
        """Draw an action in ``state``."""
        return int(rng.choice(self.table.shape[1], p=self.policy.probabilities(self.table[state])))

    def update(self, state: int, action: int, reward: float, next_state: int, done: bool) -> float:
        """Learn from one transition (and those replayed with it); returns the mean TD error of the window."""
        fresh = (state, action, reward, next_state, done)
        kept = slice(None if self.config.window is None else -self.config.window, None)
        columns = zip(self._history, fresh, strict=True)
        self._history = [np.append(column, value)[kept] for column, value in columns]
        s, a, r, after, ends = self._history
        return windowed_update(self.table, s, a, r, after, ends, self.config)
