"""The repetition model: what was done often is done again, whatever it brought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.agents.agent import SignalInfo
from envs.agents.q_learning import chosen
from envs.agents.transitions import FloatArray, Transitions


@dataclass(frozen=True)
class Repetition:
    """The paper's second alternative: choices follow how often each action was taken in that state."""

    name: ClassVar[str] = "repetition"
    actions: tuple[str, ...] = ("left", "right")
    """Names of the actions, in the task's order."""

    def describe(self) -> dict[str, SignalInfo]:
        return {
            **{f"count_{a}": SignalInfo(f"Times {a} was taken in this state before", {}) for a in self.actions},
            "count_chosen": SignalInfo("Times the action taken was taken in this state before", {}),
        }

    def replay(self, t: Transitions) -> dict[str, FloatArray]:
        counts = self.action_values(t)
        return {
            **{f"count_{a}": counts[:, i] for i, a in enumerate(self.actions)},
            "count_chosen": chosen(counts, t.action),
        }

    def action_values(self, t: Transitions) -> FloatArray:
        taken, counts = np.zeros((t.n_states, len(self.actions))), np.zeros((len(t), len(self.actions)))
        for n, (state, action) in enumerate(zip(t.state, t.action, strict=True)):
            counts[n] = taken[state]
            taken[state, action] += 1
        return counts
