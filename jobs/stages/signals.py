"""Agents replay what the model played or read, and write their learning signals beside every decision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from envs.agents import MatrixSource, OptimalSignals, QNetworkSignals, Transitions, ValueSource
from jobs.context import Context
from jobs.learners import matrix_sources, sources
from jobs.other_learners import other_learners
from jobs.reading import Rollouts, read_rollouts
from jobs.recording import Replayed, record_signals, replay_sources
from jobs.stage import Plan, Publish, Unit
from jobs.stages.play import Q_VALUES
from tdlens.record import Artifact, record_artifact

NAME = "signals"
DESCRIPTION = "agents replay the play: TD errors, Q-values, their rivals and covariates"


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit a variant."""
    for play in plan.of("play"):
        yield Unit(NAME, play.key, context.study.signals.config(), parents=(play,))


def run(context: Context, unit: Unit) -> Publish:
    rollouts = rollouts_of(context, unit.parents[0])
    section, task = context.study.signals, context.task
    replayed = replay_sources(rollouts.transitions, [*sources(section, task), *other_learners(context, rollouts)])
    for source, q in value_sources(context, unit.parents[0], rollouts):
        found = [source.replay_values(t, values) for t, values in zip(rollouts.transitions, q, strict=True)]
        replayed.append(Replayed(source, {name: np.stack([one[name] for one in found]) for name in source.describe()}))
    blobs = {
        name: context.record.blobs.put_table(matrix_table(rollouts.step_ids, values))
        for source in matrix_sources(section, task)
        for name, values in replayed_matrices(rollouts.transitions, source).items()
    }

    def publish(session: Session, job_id: int) -> None:
        record_signals(session, job_id, rollouts.step_ids, replayed)
        for name, blob in blobs.items():
            record_artifact(session, job_id, name, blob)

    return publish


def value_sources(
    context: Context, play: Unit, rollouts: Rollouts
) -> Iterator[tuple[ValueSource, NDArray[np.float64]]]:
    """The study's sources that tell of the values of actions, with these values at every decision, [R, T, actions]."""
    agents, task = context.study.signals.agents, context.task
    if QNetworkSignals.name in agents:
        yield QNetworkSignals(context.player.gamma, context.player.reward_scale), q_values_of(context, play)
    if OptimalSignals.name in agents and task.seen is not None and task.seen.states is not None:
        states = np.array([transitions.state for transitions in rollouts.transitions])
        yield OptimalSignals(), task.seen.states.best_values(play.config["task"]["variant"])[states]


def q_values_of(context: Context, play: Unit) -> NDArray[np.float64]:
    """What an agent held each action to be worth at the decisions of a unit of ``play``, [R, T, actions]."""
    with context.record.session(read_only=True) as session:
        query = select(Artifact.blob).where(Artifact.job_id == context.job_id(play), Artifact.name == Q_VALUES)
        blob = session.scalars(query).one()
    return context.record.blobs.load_tensors(blob)[Q_VALUES].double().numpy()


def replayed_matrices(rollouts: Sequence[Transitions], source: MatrixSource) -> dict[str, NDArray[np.float64]]:
    """What one source knows of every state at each decision, by signal, [R, T, n_states]."""
    outputs = [source.replay_matrix(transitions) for transitions in rollouts]
    return {name: np.stack([output[name] for output in outputs]) for name in source.describe_matrices()}


def matrix_table(step_ids: NDArray[np.int64], values: NDArray[np.float64]) -> pd.DataFrame:
    """A signal that has a value for every state, [R, T, n_states], as its blob holds it: one row a decision.

    Columns are ``step_id`` and, in float32, ``state_0``, ``state_1``, …
    """
    rows = values.reshape(step_ids.size, -1).astype(np.float32)
    columns = {f"state_{state}": column for state, column in enumerate(rows.T)}
    return pd.DataFrame({"step_id": step_ids.ravel(), **columns})


def rollouts_of(context: Context, play: Unit) -> Rollouts:
    """The rollouts that a unit of ``play`` recorded."""

    def read() -> Rollouts:
        with context.record.session(read_only=True) as session:
            return read_rollouts(session, context.job_id(play))

    return context.keep(read, "rollouts", play.identity)
