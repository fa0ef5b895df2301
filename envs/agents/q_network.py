"""What a deep Q network thinks of the game it plays: signals of its own, not of a learner that watches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.agents.agent import SignalInfo
from envs.agents.transitions import FloatArray, Transitions


@dataclass(frozen=True)
class QNetworkSignals:
    """TD error, advantage and Q-values, all in the units that the network was trained on.

    Unlike other sources it needs the network's Q-values at each decision: see :meth:`replay_values`.
    """

    name: ClassVar[str] = "q_network"
    gamma: float = 0.98
    """Discount, in [0, 1]."""
    reward_scale: float = 0.01
    """What rewards are multiplied by to be in the units of the Q-values."""

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma must lie in [0, 1], not {self.gamma}")
        if self.reward_scale <= 0:
            raise ValueError(f"reward_scale must be above 0, not {self.reward_scale}")

    def describe(self) -> dict[str, SignalInfo]:
        units = {"gamma": self.gamma, "reward_scale": self.reward_scale}
        return {
            "td_error": SignalInfo(
                "TD error of the move before, 0 at the first of a game: r + γ max Q(s) − Q(s₋₁, a₋₁)", units
            ),
            "td_error_ahead": SignalInfo(
                "TD error of the move made here, which only its outcome tells (0 at the last decision of a rollout, "
                "unless it ended its game)",
                units,
            ),
            "q_max": SignalInfo("Highest Q-value of the state: that of the move made", {}),
            "q_mean": SignalInfo("Mean Q-value of all moves", {}),
            "q_gap": SignalInfo("Highest Q-value less the second highest", {}),
            "advantage": SignalInfo("Q-value of the move made less the mean Q-value: over a random move", {}),
        }

    def replay_values(self, t: Transitions, q: FloatArray) -> dict[str, FloatArray]:
        """All signals of one rollout, each [N].

        Args:
            t: what was played.
            q: the network's Q-values at its decisions, [N, actions].

        Raises:
            ValueError: the Q-values aren't of these decisions, or of fewer than two actions.
        """
        if q.ndim != 2 or len(q) != len(t) or q.shape[1] < 2:
            raise ValueError(f"expected Q-values of shape [{len(t)}, actions], not {list(q.shape)}")
        highest = np.sort(q, axis=1)[:, -2:]
        chosen = q[np.arange(len(t)), t.action]
        # an end of the rollout that isn't one of its game leaves the last move without a successor
        following = np.append(highest[1:, 1], np.nan)
        ahead = t.reward * self.reward_scale + np.where(t.done, 0.0, self.gamma * following) - chosen
        begins = np.concatenate([[True], t.ends[:-1]])  # nothing of the game before reaches what the network sees
        return {
            "td_error": np.where(begins, 0.0, np.concatenate([[0.0], ahead[:-1]])),
            "td_error_ahead": np.nan_to_num(ahead),
            "q_max": highest[:, 1],
            "q_mean": q.mean(1),
            "q_gap": highest[:, 1] - highest[:, 0],
            "advantage": chosen - q.mean(1),
        }
