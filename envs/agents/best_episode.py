"""Best episode so far: copy what the most rewarding episode did, without learning values.

A reviewer of Demircan et al. (2025) proposed it as an explanation of the model's behaviour that needs no TD
learning: a comparison of returns and an induction head suffice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.agents.agent import SignalInfo
from envs.agents.transitions import FloatArray, IntArray, Transitions

UNKNOWN = -1


@dataclass(frozen=True)
class BestEpisode:
    """Remembers the finished episode with the highest return and prefers its action in each state.

    Only a strictly higher return replaces the remembered episode. In a state which that episode did not
    visit, or before any episode has finished, the agent is indifferent. If the episode visited a state
    several times its last action there counts.

    An episode that timed out counts like any other: whoever reads on knows that it is over and what it brought.
    """

    name: ClassVar[str] = "best_episode"
    actions: tuple[str, ...] = ("left", "right")
    """Names of the actions, in the task's order."""

    def describe(self) -> dict[str, SignalInfo]:
        infos = {"best_return": SignalInfo("Highest return of a finished episode so far (0 before the first)", {})}
        if len(self.actions) == 2:
            first, second = self.actions
            infos["best_action"] = SignalInfo(
                f"What the best episode so far did in this state: +1 {second}, -1 {first}, 0 unknown", {}
            )
        else:
            infos |= {f"best_{a}": SignalInfo(f"1 if the best episode so far did {a} here", {}) for a in self.actions}
        return infos

    def replay(self, t: Transitions) -> dict[str, FloatArray]:
        _, returns = t.finished_episodes()
        signals = {"best_return": t.most_recent(np.maximum.accumulate(returns), before=0.0)}
        if len(self.actions) == 2:
            best = self.best_actions(t)
            signals["best_action"] = np.where(best == UNKNOWN, 0.0, 2.0 * best - 1.0)
        else:
            done = self.action_values(t)
            signals |= {f"best_{a}": done[:, i] for i, a in enumerate(self.actions)}
        return signals

    def action_values(self, t: Transitions) -> FloatArray:
        best = self.best_actions(t)
        return np.asarray(best[:, None] == np.arange(len(self.actions)), dtype=np.float64)

    def best_actions(self, t: Transitions) -> IntArray:
        """What the best episode so far did in the state of each decision, or ``UNKNOWN``; [N]."""
        actions = np.full(len(t), UNKNOWN)
        remembered: dict[int, int] = {}
        current: dict[int, int] = {}
        best, total, ends = -np.inf, 0.0, t.ends
        for n in range(len(t)):
            state = int(t.state[n])
            actions[n] = remembered.get(state, UNKNOWN)
            current[state] = int(t.action[n])
            total += t.reward[n]
            if ends[n]:
                if total > best:
                    best, remembered = total, current
                current, total = {}, 0.0
        return actions
