"""The signal sources of a study, at the study's settings."""

from __future__ import annotations

from collections.abc import Sequence

from envs import Task
from envs.agents import (
    STATE_LEARNERS,
    MatrixSource,
    Myopic,
    QLearning,
    QLearningConfig,
    RandomRewards,
    Successor,
    TransitionModel,
    signal_sources,
)
from envs.agents.agent import Described, SignalSource
from envs.agents.other_learners import other_learners
from jobs.sections import SignalsSection


def sources(section: SignalsSection, task: Task) -> list[SignalSource]:
    """The agents named in the study that learn from what they see, with its learning rate, discount and window."""
    named: dict[str, SignalSource] = {
        **signal_sources(task.actions, task.n_states),
        QLearning.name: q_learner(section, task.actions),
        Myopic.name: myopic_learner(section, task.actions),
        RandomRewards.name: RandomRewards(task.actions, config(section)),
        Successor.name: successor(section, task.n_states),
        TransitionModel.name: TransitionModel(task.n_states, section.surprise_clip),
    }
    return [named[name] for name in section.agents if name in named]


def matrix_sources(section: SignalsSection, task: Task) -> list[MatrixSource]:
    """Those of the study's sources that give a matrix for every rollout."""
    return [source for source in sources(section, task) if isinstance(source, MatrixSource)]


def learned_signals(section: SignalsSection, task: Task) -> list[str]:
    """All signals of the study's sources that learn values, or where states lead; not those of their rivals."""
    learners = {QLearning.name, Myopic.name, RandomRewards.name, *STATE_LEARNERS}
    found: list[Described] = [source for source in sources(section, task) if source.name in learners]
    found += [other for name, other in other_learners(task.actions).items() if name in section.agents]
    matrices = [name for source in found if isinstance(source, MatrixSource) for name in source.describe_matrices()]
    return [*(name for source in found for name in source.describe()), *matrices]


def myopic_learner(section: SignalsSection, actions: Sequence[str]) -> Myopic:
    """The study's myopic learner."""
    return Myopic(tuple(actions), section.alpha, config(section).window)


def q_learner(section: SignalsSection, actions: Sequence[str]) -> QLearning:
    """The study's Q-learner."""
    return QLearning(tuple(actions), config(section))


def successor(section: SignalsSection, n_states: int) -> Successor:
    """The study's learner of the successor representation."""
    settings = config(section)
    return Successor(n_states, settings.alpha, settings.gamma, settings.window, section.sr_initial)


def config(section: SignalsSection) -> QLearningConfig:
    """The study's learning rate, discount and window."""
    return QLearningConfig(section.alpha, section.gamma, None if isinstance(section.window, str) else section.window)
