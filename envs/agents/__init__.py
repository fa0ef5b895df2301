"""Agents that play the tasks, or explain how they were played, and the learning signals they define.

One agent a file; to add one, write it and name it in ``AGENTS``.
"""

from __future__ import annotations

from collections.abc import Sequence

from envs.agents.agent import Agent, Described, MatrixSource, SignalInfo, SignalSource, ValueSource
from envs.agents.best_episode import BestEpisode
from envs.agents.clock import Clock
from envs.agents.context import Context
from envs.agents.myopic import Myopic
from envs.agents.neighbour_mixing import NeighbourMixing
from envs.agents.optimal import OptimalSignals
from envs.agents.other_learners import other_learners
from envs.agents.place import Place
from envs.agents.q_learning import QLearning, QLearningConfig
from envs.agents.q_network import QNetworkSignals
from envs.agents.random_rewards import RandomRewards
from envs.agents.repetition import Repetition
from envs.agents.successor import Successor
from envs.agents.transition_model import TransitionModel
from envs.agents.transitions import Transitions

AGENTS: dict[str, type[QLearning] | type[Myopic] | type[Repetition] | type[BestEpisode] | type[RandomRewards]] = {
    QLearning.name: QLearning,
    Myopic.name: Myopic,
    Repetition.name: Repetition,
    BestEpisode.name: BestEpisode,
    RandomRewards.name: RandomRewards,
}
"""What learns about actions, by name, each made with ``actions=``."""

STATE_LEARNERS: dict[str, type[Successor] | type[TransitionModel] | type[NeighbourMixing]] = {
    Successor.name: Successor,
    TransitionModel.name: TransitionModel,
    NeighbourMixing.name: NeighbourMixing,
}
"""What learns where states lead, by name, each made with ``n_states=``; they give matrices, too."""

VALUE_SOURCES: dict[str, type[QNetworkSignals] | type[OptimalSignals]] = {
    QNetworkSignals.name: QNetworkSignals,
    OptimalSignals.name: OptimalSignals,
}
"""What tells of the values that a player holds actions to have, its own or the best one, by name."""


def signal_sources(actions: Sequence[str] = ("left", "right"), n_states: int = 3) -> dict[str, SignalSource]:
    """Every agent at its published settings, and the covariates, by name; which apply is the task's to say.

    Args:
        actions: the task's actions in order; surrounding spaces are dropped, so a game's ``actions`` will do.
        n_states: the task's number of states.
    """
    names = tuple(action.strip() for action in actions)
    sources: list[SignalSource] = [
        *(agent(actions=names) for agent in AGENTS.values()),
        *(learner(n_states=n_states) for learner in STATE_LEARNERS.values()),
        Clock(),
        Place(),
        Context(),
    ]
    return {source.name: source for source in sources}


def described(actions: Sequence[str], n_states: int) -> dict[str, Described]:
    """Whatever gives signals, by name: the sources of :func:`signal_sources`, ``VALUE_SOURCES`` and other learners."""
    return {
        **signal_sources(actions, n_states),
        **{name: source() for name, source in VALUE_SOURCES.items()},
        **other_learners(actions),
    }


__all__ = [
    "AGENTS",
    "STATE_LEARNERS",
    "VALUE_SOURCES",
    "Agent",
    "BestEpisode",
    "Clock",
    "Context",
    "Described",
    "MatrixSource",
    "Myopic",
    "NeighbourMixing",
    "OptimalSignals",
    "Place",
    "QLearning",
    "QLearningConfig",
    "QNetworkSignals",
    "RandomRewards",
    "Repetition",
    "SignalInfo",
    "SignalSource",
    "Successor",
    "TransitionModel",
    "Transitions",
    "ValueSource",
    "described",
    "signal_sources",
]
