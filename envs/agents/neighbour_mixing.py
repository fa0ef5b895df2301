"""Neighbour mixing: a state stands for itself and, in part, for what followed it.

A rival of the successor representation that needs no TD learning and no discount: attention that copies from a
node's earlier occurrences what came next mixes the two. It is (1 - w) I + w T, the first two terms of the series
I + γT + γ²T² + … that the successor representation converges to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.agents.agent import SignalInfo
from envs.agents.transitions import FloatArray, Transitions


@dataclass(frozen=True)
class NeighbourMixing:
    """Mixes every state with the mean of its successors so far; one that was never left stands for itself alone.

    Raises:
        ValueError: a weight out of its range.
    """

    name: ClassVar[str] = "neighbour_mixing"
    n_states: int
    """States of the task."""
    weight: float = 0.5
    """Share of the successors, in (0, 1]."""

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ValueError(f"weight must lie in (0, 1], not {self.weight}")

    def describe(self) -> dict[str, SignalInfo]:
        description = "Euclidean norm of the change that the transition before the decision made to a state's mix"
        return {"mixing_change": SignalInfo(description, {"weight": self.weight})}

    def replay(self, t: Transitions) -> dict[str, FloatArray]:
        return {"mixing_change": self.learn(t)[1]}

    def describe_matrices(self) -> dict[str, SignalInfo]:
        return {
            "mixing": SignalInfo("The present state mixed with the mean of its successors", {"weight": self.weight})
        }

    def replay_matrix(self, t: Transitions) -> dict[str, FloatArray]:
        return {"mixing": self.learn(t)[0]}

    def learn(self, t: Transitions) -> tuple[FloatArray, FloatArray]:
        """The mix of the state at each decision [N, n_states], and how far the last transition moved one [N]."""
        t.check_states(self.n_states)
        identity = np.eye(self.n_states)
        mixed, counts = identity.copy(), np.zeros((self.n_states, self.n_states))
        rows, change = np.zeros((len(t), self.n_states)), np.zeros(len(t))
        for n, state in enumerate(t.state):
            if n > 0 and not t.done[n - 1]:
                left = t.state[n - 1]
                counts[left, t.next_state[n - 1]] += 1
                fresh = (1 - self.weight) * identity[left] + self.weight * counts[left] / counts[left].sum()
                change[n] = np.linalg.norm(fresh - mixed[left])
                mixed[left] = fresh
            rows[n] = mixed[state]
        return rows, change
