"""Covariates: what a hidden state may track without any learning, and correlations must be rid of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.agents.agent import SignalInfo
from envs.agents.clock import Clock
from envs.agents.place import Place
from envs.agents.transitions import FloatArray, Transitions


@dataclass(frozen=True)
class Context:
    """Time, the second decision of an episode and summaries of past returns; :class:`Clock` where there are none.

    Returns are 0 while no episode has finished. In the paper's own example runs the TD latent follows the step
    index at r = -0.61, so a correlation with the TD error says little until these are partialled out.
    """

    name: ClassVar[str] = "context"
    recency: float = 0.3
    """Weight of the latest return in the exponential average, in (0, 1]."""

    def __post_init__(self) -> None:
        if not 0 < self.recency <= 1:
            raise ValueError(f"recency must lie in (0, 1], not {self.recency}")

    def describe(self) -> dict[str, SignalInfo]:
        return {
            **Clock().describe(),
            "is_second_pick": SignalInfo("1 at the second decision of an episode, else 0", {}),
            "last_reward": SignalInfo("Return of the last finished episode", {}),
            "max_so_far": SignalInfo("Highest return of a finished episode so far", {}),
            "recency_reward": SignalInfo(
                "Exponential average of finished episodes' returns", {"recency": self.recency}
            ),
        }

    def replay(self, t: Transitions) -> dict[str, FloatArray]:
        _, returns = t.finished_episodes()
        averages, average = np.zeros_like(returns), 0.0
        for i, value in enumerate(returns):
            averages[i] = average = average + self.recency * (value - average)
        return {
            **Clock().replay(t),
            "is_second_pick": (Place().replay(t)["episode_step"] == 1).astype(np.float64),
            "last_reward": t.most_recent(returns, before=0.0),
            "max_so_far": t.most_recent(np.maximum.accumulate(returns), before=0.0),
            "recency_reward": t.most_recent(averages, before=0.0),
        }
