"""Agents replay what the model played and write their learning signals beside every decision."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.orm import Session

from jobs.context import Context
from jobs.learners import sources
from jobs.reading import Rollouts, read_rollouts
from jobs.recording import record_signals, replay_sources
from jobs.stage import Plan, Publish, Unit

NAME = "signals"
DESCRIPTION = "agents replay the play: TD errors, Q-values, their rivals and covariates"


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit a variant."""
    for play in plan.of("play"):
        yield Unit(NAME, play.key, context.study.signals.model_dump(mode="json"), parents=(play,))


def run(context: Context, unit: Unit) -> Publish:
    rollouts = rollouts_of(context, unit.parents[0])
    replayed = replay_sources(rollouts.transitions, sources(context.study.signals, context.task.actions))

    def publish(session: Session, job_id: int) -> None:
        record_signals(session, job_id, rollouts.step_ids, replayed)

    return publish


def rollouts_of(context: Context, play: Unit) -> Rollouts:
    """The rollouts that a unit of ``play`` recorded."""

    def read() -> Rollouts:
        with context.record.session(read_only=True) as session:
            return read_rollouts(session, context.job_id(play))

    return context.keep(read, "rollouts", play.identity)
