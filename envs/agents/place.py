"""Place in the episode, and the reward just seen: covariates of tasks whose episodes differ in length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.agents.agent import SignalInfo
from envs.agents.transitions import FloatArray, Transitions


@dataclass(frozen=True)
class Place:
    """Where in its episode a decision is taken, and what the one before it brought."""

    name: ClassVar[str] = "place"

    def describe(self) -> dict[str, SignalInfo]:
        return {
            "episode": SignalInfo("Index of the episode in the rollout", {}),
            "episode_step": SignalInfo("Index of the decision in its episode", {}),
            "previous_reward": SignalInfo("Reward of the decision before (0 at the first)", {}),
        }

    def replay(self, t: Transitions) -> dict[str, FloatArray]:
        place = np.arange(len(t)) - np.searchsorted(t.episode, t.episode)
        return {
            "episode": t.episode.astype(np.float64),
            "episode_step": place.astype(np.float64),
            "previous_reward": np.concatenate([[0.0], t.reward[:-1]])[: len(t)],
        }
