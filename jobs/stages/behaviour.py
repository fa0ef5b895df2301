"""Behaviour models fitted to the model's own choices (paper §2.5), with what the paper lacks: intervals, AIC, BIC."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from sqlalchemy.orm import Session

from envs.agents import Agent, Myopic, QLearning
from envs.agents.behaviour import BehaviourFit as Fit
from envs.agents.behaviour import BehaviourModel, compare, standard_models
from jobs.context import Context
from jobs.learners import myopic_learner, q_learner
from jobs.recording import record_model
from jobs.stage import Plan, Publish, Unit
from jobs.stages.signals import rollouts_of
from tdlens.record import BehaviourFit

NAME = "behaviour"
DESCRIPTION = "how well Q-learning and its rivals explain the model's choices"


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """The first variant, as in the paper; choices imposed by the task aren't scored.

    An agent that sees its task as numbers learned before, not from what it plays.
    """
    if context.task.teacher_forced or context.task.seen is not None:
        return
    config = {"signals": context.study.signals.config(), "bootstrap": context.study.bootstrap}
    play = plan.of("play")[0]
    yield Unit(NAME, play.key, config, parents=(play,), seed=context.study.seed)


def run(context: Context, unit: Unit) -> Publish:
    rollouts = rollouts_of(context, unit.parents[0])
    rng = np.random.default_rng(unit.seed)
    fits = compare(rollouts.transitions, rollouts.scored, models(context), rng, context.study.bootstrap)

    def publish(session: Session, job_id: int) -> None:
        model = context.study.model.name
        model_id = record_model(session, model, context.model_source, context.network)
        for fit in fits:
            session.add(behaviour_row(fit, job_id, context.study.task.name, model_id, len(rollouts.transitions)))

    return publish


def models(context: Context) -> list[BehaviourModel]:
    """The standard models with their learners at the study's settings; Q-learning comes first."""
    section, actions = context.study.signals, context.task.actions
    learners: dict[str, Agent] = {
        QLearning.name: q_learner(section, actions),
        Myopic.name: myopic_learner(section, actions),
    }
    standard = standard_models(actions)
    return [replace(model, agent=learners.get(model.agent.name, model.agent)) for model in standard]


def behaviour_row(fit: Fit, job_id: int, task: str, model_id: int, n_rollouts: int) -> BehaviourFit:
    """A fit as the record keeps it."""
    return BehaviourFit(
        job_id=job_id,
        task=task,
        model_id=model_id,
        policy="model",
        behaviour_model=fit.model,
        n_choices=fit.n_choices,
        n_rollouts=n_rollouts,
        n_parameters=fit.n_parameters,
        beta=fit.beta.value,
        nll=fit.nll,
        aic=fit.aic,
        bic=fit.bic,
        chance_nll=fit.chance_nll,
        nll_minus_q=fit.minus_reference.value,
        ci_low=fit.minus_reference.ci_low,
        ci_high=fit.minus_reference.ci_high,
    )
