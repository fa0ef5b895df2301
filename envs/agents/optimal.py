"""What the best player would make of the states that another meets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.agents.agent import SignalInfo
from envs.agents.transitions import FloatArray, Transitions


@dataclass(frozen=True)
class OptimalSignals:
    """The value of each state under best play, and what the move made falls short of it, in the task's points.

    It needs the best player's Q-values at each decision: see :meth:`replay_values`.
    """

    name: ClassVar[str] = "optimal"

    def describe(self) -> dict[str, SignalInfo]:
        return {
            "optimal_value": SignalInfo("Expected return from the state under best play without a clock", {}),
            "regret": SignalInfo("Value of the state under best play less that of the move made", {}),
        }

    def replay_values(self, t: Transitions, q: FloatArray) -> dict[str, FloatArray]:
        """All signals of one rollout, each [N].

        Args:
            t: what was played.
            q: the best player's Q-values at its decisions, [N, actions].

        Raises:
            ValueError: the Q-values aren't of these decisions.
        """
        if q.ndim != 2 or len(q) != len(t):
            raise ValueError(f"expected Q-values of shape [{len(t)}, actions], not {list(q.shape)}")
        best = q.max(1)
        return {"optimal_value": best, "regret": best - q[np.arange(len(t)), t.action]}
