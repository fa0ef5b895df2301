"""The transition matrix by counting, and the surprise it brings: the paper's rivals of the successor representation.

Demircan et al. (2025, arXiv 2410.01280, graph task): T(s, s′) = count(s → s′) / count(s), and the surprise at the
transition s → s′ is a vector over states, -log T(s, s′) at s′ and -log(1 - T(s, x)) at every other x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import entr

from envs.agents.agent import SignalInfo
from envs.agents.transitions import FloatArray, Transitions


@dataclass(frozen=True)
class TransitionModel:
    """Counts what followed each state; a state that was never left has a row of zeros.

    Surprise is measured by what was known before the transition. A transition that ended its episode led to no
    state: it isn't counted and surprises by nothing.
    """

    name: ClassVar[str] = "transition_model"
    n_states: int
    """States of the task."""
    clip: float = 1e-3
    """Smallest probability whose logarithm is taken: what was held impossible surprises by -log(clip)."""

    def __post_init__(self) -> None:
        if not 0 < self.clip < 1:
            raise ValueError(f"clip must lie in (0, 1), not {self.clip}")

    def describe(self) -> dict[str, SignalInfo]:
        return {
            "transition_entropy": SignalInfo("Entropy in nats of what followed the present state so far", {}),
            "surprise_taken": SignalInfo("Surprise in nats at the state that was arrived at", {"clip": self.clip}),
        }

    def replay(self, t: Transitions) -> dict[str, FloatArray]:
        rows, surprise = self.learn(t)
        taken = np.zeros(len(t))
        before = np.flatnonzero(~t.done[:-1])
        taken[before + 1] = surprise[before + 1, t.next_state[before]]
        return {"transition_entropy": entr(rows).sum(axis=1), "surprise_taken": taken}

    def describe_matrices(self) -> dict[str, SignalInfo]:
        return {
            "transition": SignalInfo("Relative frequency of each state after the present one so far", {}),
            "surprise": SignalInfo("Surprise in nats at each state's coming or not coming", {"clip": self.clip}),
        }

    def replay_matrix(self, t: Transitions) -> dict[str, FloatArray]:
        rows, surprise = self.learn(t)
        return {"transition": rows, "surprise": surprise}

    def learn(self, t: Transitions) -> tuple[FloatArray, FloatArray]:
        """Row of T for the state at each decision and the surprise that came before it, both [N, n_states]."""
        t.check_states(self.n_states)
        counts = np.zeros((self.n_states, self.n_states))
        rows, surprise = np.zeros((len(t), self.n_states)), np.zeros((len(t), self.n_states))
        for n, state in enumerate(t.state):
            if n > 0 and not t.done[n - 1]:
                left, reached = t.state[n - 1], t.next_state[n - 1]
                happened = 1.0 - frequencies(counts[left])
                happened[reached] = 1.0 - happened[reached]
                surprise[n] = -np.log(np.maximum(happened, self.clip))
                counts[left, reached] += 1
            rows[n] = frequencies(counts[state])
        return rows, surprise


def frequencies(counts: FloatArray) -> FloatArray:
    """Counts [n_states] as shares of their sum, zeros if nothing was counted."""
    shares: FloatArray = counts / max(counts.sum(), 1.0)
    return shares
