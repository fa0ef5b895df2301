"""Q-learning from rewards that mean nothing: what of a correlation with Q-values needs no true reward?

The control of Demircan et al. (2025, arXiv 2410.01280, Grid World): the same decisions, with +1 or -1 at random.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import ClassVar

import numpy as np

from envs.agents.agent import SignalInfo
from envs.agents.q_learning import QLearningConfig, learn
from envs.agents.transitions import FloatArray, Transitions


@dataclass(frozen=True)
class RandomRewards:
    """A Q-learner that makes the same transitions and receives +1 or -1 for each, whatever they brought."""

    name: ClassVar[str] = "random_rewards"
    actions: tuple[str, ...] = ("left", "right")
    """Names of the actions, in the task's order."""
    config: QLearningConfig = field(default_factory=QLearningConfig)
    """Learning rate, discount and window."""

    def describe(self) -> dict[str, SignalInfo]:
        parameters = self.config.parameters()
        return {
            "random_error": SignalInfo("TD error over the window, from random rewards", parameters),
            **{f"random_q_{a}": SignalInfo(f"Q-value of {a} from random rewards", parameters) for a in self.actions},
            "random_q_max": SignalInfo("Highest Q-value from random rewards", parameters),
        }

    def replay(self, t: Transitions) -> dict[str, FloatArray]:
        error, values = learn(replace(t, reward=random_rewards(t)), len(self.actions), self.config)
        return {
            "random_error": error,
            **{f"random_q_{a}": values[:, i] for i, a in enumerate(self.actions)},
            "random_q_max": values.max(axis=1),
        }

    def action_values(self, t: Transitions) -> FloatArray:
        return learn(replace(t, reward=random_rewards(t)), len(self.actions), self.config)[1]


def random_rewards(t: Transitions) -> FloatArray:
    """+1 or -1 for every decision [N], drawn by a hash of all transitions up to it, rewards left out.

    So the draws need no seed: one history gives the same rewards wherever it is replayed, another one gives others
    from where it departs, and none of them depends on what comes later.
    """
    reached = np.where(t.done, -1, t.next_state)
    history, rewards = blake2b(digest_size=1), np.zeros(len(t))
    for n, row in enumerate(np.stack([t.episode, t.state, t.action, reached], axis=1).astype("<i8")):
        history.update(row.tobytes())
        rewards[n] = 1.0 if history.digest()[0] % 2 else -1.0
    return rewards
