"""Time: the first covariate of any signal that drifts over a rollout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.agents.agent import SignalInfo
from envs.agents.transitions import FloatArray, Transitions


@dataclass(frozen=True)
class Clock:
    """How far the rollout has come.

    A TD error averaged over the whole history is nearly a clock: in the Grid World task it follows the logarithm of
    the step at r = 0.83.
    """

    name: ClassVar[str] = "clock"

    def describe(self) -> dict[str, SignalInfo]:
        return {
            "step": SignalInfo("Index of the decision in the rollout", {}),
            "log_step": SignalInfo("Natural logarithm of one plus the index of the decision", {}),
        }

    def replay(self, t: Transitions) -> dict[str, FloatArray]:
        step = np.arange(len(t), dtype=np.float64)
        return {"step": step, "log_step": np.log1p(step)}
