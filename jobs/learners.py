"""The signal sources of a study, at the study's settings."""

from __future__ import annotations

from collections.abc import Sequence

from envs.agents import Myopic, QLearning, QLearningConfig, signal_sources
from envs.agents.agent import SignalSource
from jobs.sections import SignalsSection


def sources(section: SignalsSection, actions: Sequence[str]) -> list[SignalSource]:
    """The agents named in the study, with its learning rate, discount and window."""
    named: dict[str, SignalSource] = {
        **signal_sources(actions),
        QLearning.name: q_learner(section, actions),
        Myopic.name: myopic_learner(section, actions),
    }
    return [named[name] for name in section.agents]


def myopic_learner(section: SignalsSection, actions: Sequence[str]) -> Myopic:
    """The study's myopic learner."""
    return Myopic(tuple(actions), section.alpha, section.window)


def q_learner(section: SignalsSection, actions: Sequence[str]) -> QLearning:
    """The study's Q-learner."""
    return QLearning(tuple(actions), QLearningConfig(section.alpha, section.gamma, section.window))
