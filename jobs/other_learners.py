"""The learners beside the study's whose signals a study may ask for: they are made from the task, or from the play."""

from __future__ import annotations

from envs.agents.agent import SignalSource
from envs.agents.other_learners import FITTED, GENERATOR, fit_learner, fitted, generating
from jobs.context import Context
from jobs.learners import config
from jobs.reading import Rollouts


def other_learners(context: Context, rollouts: Rollouts) -> list[SignalSource]:
    """Those that the study names: the one that made the moves, and one fitted to what the model foretold."""
    wanted, actions = context.study.signals.agents, context.task.actions
    found: list[SignalSource] = []
    if GENERATOR in wanted:
        settings = context.task.config(**context.task_settings)
        found.append(generating(actions, {"alpha": settings.alpha, "gamma": settings.gamma}))
    if FITTED in wanted:
        window = config(context.study.signals).window
        found.append(fitted(actions, fit_learner(rollouts.transitions, rollouts.probabilities, window)))
    return found
