"""Agents that play the tasks, or explain how they were played, and the learning signals they define.

One agent a file; to add one, write it and name it in ``AGENTS``.
"""

from __future__ import annotations

from collections.abc import Sequence

from envs.agents.agent import Agent, SignalInfo, SignalSource
from envs.agents.best_episode import BestEpisode
from envs.agents.context import Context
from envs.agents.myopic import Myopic
from envs.agents.q_learning import QLearning, QLearningConfig
from envs.agents.repetition import Repetition
from envs.agents.transitions import Transitions

AGENTS: dict[str, type[QLearning] | type[Myopic] | type[Repetition] | type[BestEpisode]] = {
    QLearning.name: QLearning,
    Myopic.name: Myopic,
    Repetition.name: Repetition,
    BestEpisode.name: BestEpisode,
}
"""Agents by name, each made with ``actions=``."""


def signal_sources(actions: Sequence[str] = ("left", "right")) -> dict[str, SignalSource]:
    """Every agent at its published settings, and the covariates, by name.

    Args:
        actions: the task's actions in order; surrounding spaces are dropped, so a game's ``actions`` will do.
    """
    names = tuple(action.strip() for action in actions)
    sources: list[SignalSource] = [agent(actions=names) for agent in AGENTS.values()]
    return {source.name: source for source in [*sources, Context()]}


__all__ = [
    "AGENTS",
    "Agent",
    "BestEpisode",
    "Context",
    "Myopic",
    "QLearning",
    "QLearningConfig",
    "Repetition",
    "SignalInfo",
    "SignalSource",
    "Transitions",
    "signal_sources",
]
