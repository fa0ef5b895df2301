"""The myopic learner (Rescorla-Wagner): Q-learning that sees no further than the next reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from envs.agents.agent import SignalInfo
from envs.agents.q_learning import QLearningConfig, chosen, learn
from envs.agents.transitions import FloatArray, Transitions


@dataclass(frozen=True)
class Myopic:
    """The paper's first alternative to Q-learning: the same update with a discount of 0."""

    name: ClassVar[str] = "myopic"
    actions: tuple[str, ...] = ("left", "right")
    """Names of the actions, in the task's order."""
    alpha: float = 0.1
    """Learning rate, in (0, 1]."""
    window: int | None = 4
    """Number of last transitions replayed after every step; None replays the whole history."""

    @property
    def config(self) -> QLearningConfig:
        """The learner's settings, discount 0 among them."""
        return QLearningConfig(alpha=self.alpha, gamma=0.0, window=self.window)

    def describe(self) -> dict[str, SignalInfo]:
        parameters = self.config.parameters()
        return {
            "myopic_error": SignalInfo("Prediction error of the immediate reward, over the window", parameters),
            **{f"myopic_{a}": SignalInfo(f"Expected immediate reward of {a}", parameters) for a in self.actions},
            "myopic_chosen": SignalInfo("Expected immediate reward of the action taken", parameters),
            "myopic_max": SignalInfo("Highest expected immediate reward", parameters),
        }

    def replay(self, t: Transitions) -> dict[str, FloatArray]:
        error, values = learn(t, len(self.actions), self.config)
        return {
            "myopic_error": error,
            **{f"myopic_{a}": values[:, i] for i, a in enumerate(self.actions)},
            "myopic_chosen": chosen(values, t.action),
            "myopic_max": values.max(axis=1),
        }

    def action_values(self, t: Transitions) -> FloatArray:
        return learn(t, len(self.actions), self.config)[1]
