"""Q-learning with the windowed TD signal of Demircan et al. (2025, arXiv 2410.01280, Two-Step and Fig 7)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from envs.agents.agent import Parameter, SignalInfo
from envs.agents.transitions import BoolArray, FloatArray, IntArray, Transitions


@dataclass(frozen=True)
class QLearningConfig:
    """How the table of Q-values is learned.

    Raises:
        ValueError: a value outside its range.
    """

    alpha: float = 0.1
    """Learning rate, in (0, 1]."""
    gamma: float = 0.99
    """Discount, in [0, 1]; 0 makes the learner myopic."""
    window: int | None = 4
    """Number of last transitions replayed after every step; None replays the whole history."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise ValueError(f"alpha must lie in (0, 1], not {self.alpha}")
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma must lie in [0, 1], not {self.gamma}")
        if self.window is not None and self.window < 1:
            raise ValueError(f"window must be at least 1 or None (the whole history), not {self.window}")

    def first(self, n: int) -> int:
        """Index of the oldest transition that is replayed together with transition ``n``."""
        return 0 if self.window is None else max(0, n + 1 - self.window)

    def parameters(self) -> dict[str, Parameter]:
        """The settings by name, for records."""
        return {"alpha": self.alpha, "gamma": self.gamma, "window": self.window}


def windowed_update(
    table: FloatArray,
    state: IntArray,
    action: IntArray,
    reward: FloatArray,
    next_state: IntArray,
    done: BoolArray,
    config: QLearningConfig,
) -> float:
    """Replay k transitions at once: change ``table`` [states, actions] in place, return the mean TD error.

    Every error is taken against the same old table. Where a state-action pair occurs more than once the
    update of its last transition stands (the updates are neither summed nor averaged); the paper's curves
    after a disruption can only be had so.
    """
    bootstrap = np.where(done, 0.0, table.max(axis=1)[np.where(done, 0, next_state)])
    error = reward + config.gamma * bootstrap - table[state, action]
    table[state, action] = table[state, action] + config.alpha * error
    return float(error.mean())


def learn(t: Transitions, n_actions: int, config: QLearningConfig) -> tuple[FloatArray, FloatArray]:
    """TD signal [N] and Q-values of the state at each decision [N, n_actions], both as known before it.

    The signal at decision n is the windowed error after transition n - 1 (lag of one), 0 at the first.
    """
    table = np.zeros((t.n_states, n_actions))
    signal, values = np.zeros(len(t)), np.zeros((len(t), n_actions))
    for n in range(len(t)):
        values[n] = table[t.state[n]]
        if n + 1 < len(t):
            w = slice(config.first(n), n + 1)
            signal[n + 1] = windowed_update(
                table, t.state[w], t.action[w], t.reward[w], t.next_state[w], t.done[w], config
            )
    return signal, values


def chosen(values: FloatArray, action: IntArray) -> FloatArray:
    """Of values [N, n_actions] the one of the action taken, [N]."""
    taken: FloatArray = np.take_along_axis(values, action[:, None], axis=1)[:, 0]
    return taken


def best_unchosen(values: FloatArray, action: IntArray) -> FloatArray:
    """Of values [N, n_actions] the highest among the actions not taken, [N]."""
    others = values.copy()
    np.put_along_axis(others, action[:, None], -np.inf, axis=1)
    best: FloatArray = others.max(axis=1)
    return best


@dataclass(frozen=True)
class QLearning:
    """The regressor of the paper: TD errors over a window and over the whole history, and Q-values.

    Q-values come from the table learned with the window. The paper does not say which it correlated, so each
    column, the chosen, the best other, the maximum and (for two actions) their difference are offered.
    """

    name: ClassVar[str] = "q_learning"
    actions: tuple[str, ...] = ("left", "right")
    """Names of the actions, in the task's order."""
    config: QLearningConfig = QLearningConfig()
    """Learning rate, discount and window."""
    other_windows: tuple[int, ...] = ()
    """Windows for which the TD error is offered besides, as ``td_error_k1`` and so on (Fig 7)."""

    def describe(self) -> dict[str, SignalInfo]:
        windowed = self.config.parameters()
        whole = replace(self.config, window=None).parameters()
        infos = {
            "td_error": SignalInfo("TD error averaged over the replayed window", windowed),
            "td_error_full": SignalInfo("TD error averaged over the whole history", whole),
            **{
                f"td_error_k{k}": SignalInfo(f"TD error averaged over {k} transitions", config.parameters())
                for k, config in self._others()
            },
            **{f"q_{a}": SignalInfo(f"Q-value of {a}", windowed) for a in self.actions},
            "q_chosen": SignalInfo("Q-value of the action taken", windowed),
            "q_unchosen": SignalInfo("Highest Q-value among the actions not taken", windowed),
            "q_max": SignalInfo("Highest Q-value", windowed),
        }
        if len(self.actions) == 2:
            first, second = self.actions
            infos["q_difference"] = SignalInfo(f"Q-value of {second} minus that of {first}", windowed)
        return infos

    def replay(self, t: Transitions) -> dict[str, FloatArray]:
        error, values = learn(t, len(self.actions), self.config)
        whole = replace(self.config, window=None)
        error_full = error if self.config == whole else learn(t, len(self.actions), whole)[0]
        signals = {
            "td_error": error,
            "td_error_full": error_full,
            **{f"td_error_k{k}": learn(t, len(self.actions), config)[0] for k, config in self._others()},
            **{f"q_{a}": values[:, i] for i, a in enumerate(self.actions)},
            "q_chosen": chosen(values, t.action),
            "q_unchosen": best_unchosen(values, t.action),
            "q_max": values.max(axis=1),
        }
        if len(self.actions) == 2:
            signals["q_difference"] = values[:, 1] - values[:, 0]
        return signals

    def action_values(self, t: Transitions) -> FloatArray:
        return learn(t, len(self.actions), self.config)[1]

    def _others(self) -> list[tuple[int, QLearningConfig]]:
        return [(k, replace(self.config, window=k)) for k in self.other_windows]
