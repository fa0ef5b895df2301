"""The successor representation, learned by TD (Dayan 1993; Demircan et al. 2025, arXiv 2410.01280, graph task).

M(s, s′) is the discounted number of future visits to s′ that are expected in s, this one included. After the
transition s → s′ its error is δ = 1_s + γ M(s′, :) − M(s, :), a vector over states, and M(s, :) moves by αδ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.agents.agent import SignalInfo
from envs.agents.q_learning import QLearningConfig
from envs.agents.transitions import BoolArray, FloatArray, IntArray, Transitions


@dataclass(frozen=True)
class Successor:
    """Learns M; what is known at decision n comes from the transitions before it (lag of one).

    The paper doesn't say how M starts, nor whether its errors are averaged over a window here too: both can be set, and
    the defaults are the simplest choice.

    Raises:
        ValueError: a value outside its range.
    """

    name: ClassVar[str] = "successor"
    n_states: int
    """States of the task."""
    alpha: float = 0.05
    """Learning rate, in (0, 1]."""
    gamma: float = 0.99
    """Discount, in [0, 1]."""
    window: int | None = 1
    """Number of last transitions replayed after every step; None replays the whole history."""
    initial: float = 0.0
    """Diagonal of M at the start: 0 for zeros, 1 for the identity (a state expects no visit but the present one)."""

    def __post_init__(self) -> None:
        _ = self.config

    @property
    def config(self) -> QLearningConfig:
        """Learning rate, discount and window, in their ranges."""
        return QLearningConfig(self.alpha, self.gamma, self.window)

    def describe(self) -> dict[str, SignalInfo]:
        parameters = {**self.config.parameters(), "initial": self.initial}
        return {
            "sr_self": SignalInfo("Expected discounted visits to the present state, this one included", parameters),
            "sr_error_norm": SignalInfo("Euclidean norm of the SR-TD error vector", parameters),
        }

    def replay(self, t: Transitions) -> dict[str, FloatArray]:
        rows, errors = self.learn(t)
        return {
            "sr_self": np.take_along_axis(rows, t.state[:, None], axis=1)[:, 0],
            "sr_error_norm": np.linalg.norm(errors, axis=1),
        }

    def describe_matrices(self) -> dict[str, SignalInfo]:
        parameters = {**self.config.parameters(), "initial": self.initial}
        return {
            "sr": SignalInfo("Successor representation of the present state", parameters),
            "sr_error": SignalInfo("SR-TD error of the transition before the decision", parameters),
        }

    def replay_matrix(self, t: Transitions) -> dict[str, FloatArray]:
        rows, errors = self.learn(t)
        return {"sr": rows, "sr_error": errors}

    def learn(self, t: Transitions) -> tuple[FloatArray, FloatArray]:
        """Row of M for the state at each decision and the error that came before it, both [N, n_states].

        Where several transitions are replayed the error is their mean; there is none before the first decision.
        """
        t.check_states(self.n_states)
        config = self.config
        table = self.initial * np.eye(self.n_states)
        rows, errors = np.zeros((len(t), self.n_states)), np.zeros((len(t), self.n_states))
        for n in range(len(t)):
            if n > 0:
                w = slice(config.first(n - 1), n)
                errors[n] = windowed_update(table, t.state[w], t.next_state[w], t.done[w], config)
            rows[n] = table[t.state[n]]
        return rows, errors


def windowed_update(
    table: FloatArray, state: IntArray, next_state: IntArray, done: BoolArray, config: QLearningConfig
) -> FloatArray:
    """Replay k transitions at once: change M [n_states, n_states] in place, return the mean error [n_states].

    As for Q-values, every error is taken against the same old table, and of several updates of one row that of its
    last transition stands.
    """
    future = np.where(done[:, None], 0.0, table[np.where(done, 0, next_state)])
    error = config.gamma * future - table[state]
    error[np.arange(len(state)), state] += 1.0
    table[state] = table[state] + config.alpha * error
    mean: FloatArray = error.mean(axis=0)
    return mean
