"""Reading the record back as arrays over rollouts and decisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from envs.agents import Transitions
from envs.game import Game
from envs.game import Step as GameStep
from jobs.inference.play import Played
from tdlens.record import (
    ActivationShard,
    Capture,
    Episode,
    LearningSignal,
    Record,
    Rollout,
    Signal,
    Step,
)

ROWS = 1000
"""Of a query that are fetched at a time."""


@dataclass(frozen=True, eq=False)
class Rollouts:
    """R recorded rollouts of T decisions, in the order of their index."""

    step_ids: NDArray[np.int64]
    """Keys of the steps, [R, T]."""
    transitions: list[Transitions]
    """One history a rollout."""
    forced: NDArray[np.bool_]
    """Decisions imposed by the task, [R, T]."""
    transcripts: list[str]
    """Text of each rollout."""
    probabilities: NDArray[np.float64]
    """The policy's probability of each action, [R, T, A]; NaN, [R, T, 1], where it gives none."""

    @classmethod
    def of_games(cls, games: Sequence[Game], played: Played) -> Self:
        """Games just played, not recorded yet: their steps have no keys, so ``step_ids`` is all zero."""
        return cls(
            step_ids=np.zeros(played.actions.shape, dtype=np.int64),
            transitions=[Transitions.from_steps(game.steps) for game in games],
            forced=np.array([[step.forced for step in game.steps] for game in games]),
            transcripts=[transcript.text for transcript in played.transcripts],
            probabilities=played.probabilities,
        )

    @property
    def scored(self) -> list[NDArray[np.bool_]]:
        """Decisions that the policy took itself, one mask a rollout."""
        return list(~self.forced)

    def returns(self) -> list[NDArray[np.float64]]:
        """Return of each finished episode, an array a rollout: they may differ in how many there are."""
        return [t.finished_episodes()[1] for t in self.transitions]


def read_rollouts(session: Session, job_id: int) -> Rollouts:
    """The rollouts of one job; all have the same number of decisions."""
    query = (
        select(
            Rollout.index,
            Step.id,
            Episode.index,
            Step.state,
            Step.action,
            Step.reward,
            Step.next_state,
            Step.done,
            Step.forced,
            Step.action_probabilities,
        )
        .join(Step, Step.rollout_id == Rollout.id)
        .join(Episode, Episode.id == Step.episode_id)
        .where(Rollout.job_id == job_id)
        .order_by(Rollout.index, Step.index)
    )
    ids, transitions, forced, probabilities = [], [], [], []
    # one rollout's rows at a time: those of all would take more memory than what they hold
    found = session.execute(query.execution_options(yield_per=ROWS))
    for _, rows in groupby(found, key=lambda row: row[0]):
        here = list(rows)
        steps = [GameStep(*row[2:9]) for row in here]
        ids.append([row[1] for row in here])
        transitions.append(Transitions.from_steps(steps))
        forced.append([step.forced for step in steps])
        probabilities.append(np.array([row[9] or [np.nan] for row in here]))
    texts = session.scalars(select(Rollout.transcript).where(Rollout.job_id == job_id).order_by(Rollout.index)).all()
    return Rollouts(
        step_ids=np.array(ids, dtype=np.int64),
        transitions=transitions,
        forced=np.array(forced),
        transcripts=list(texts),
        probabilities=np.stack(probabilities),
    )


def read_signals(
    session: Session, job_id: int, step_ids: NDArray[np.int64], names: Sequence[str]
) -> NDArray[np.float64]:
    """Learning signals of one job at the given steps, [R, T, S] in the order of ``names``."""
    values = np.full((step_ids.size, len(names)), np.nan)
    order = np.argsort(step_ids, axis=None)
    sorted_ids = step_ids.ravel()[order]
    for column, name in enumerate(names):
        rows = session.execute(
            select(LearningSignal.step_id, LearningSignal.value)
            .join(Signal, Signal.id == LearningSignal.signal_id)
            .where(LearningSignal.job_id == job_id, Signal.name == name)
        ).all()
        found = np.array(rows, dtype=np.float64).reshape(-1, 2)
        places = np.searchsorted(sorted_ids, found[:, 0].astype(np.int64))
        values[order[places], column] = found[:, 1]
    return values.reshape(*step_ids.shape, len(names))


def signal_ids(session: Session, job_id: int, names: Sequence[str]) -> dict[str, int]:
    """Keys of the signals as one job recorded them, by name."""
    rows = session.execute(
        select(Signal.name, Signal.id)
        .where(Signal.name.in_(names))
        .where(Signal.id.in_(select(LearningSignal.signal_id).where(LearningSignal.job_id == job_id).distinct()))
    ).all()
    return {name: key for name, key in rows}


def read_activations(record: Record, job_ids: Sequence[int], block: int) -> Iterator[torch.Tensor]:
    """Residual stream of one block at the decisions of several jobs, one after the other and shard by shard.

    Each shard is uncentred float32 [n, d]; checksums are verified.
    """
    with record.session(read_only=True) as session:
        query = (
            select(ActivationShard.blob)
            .join(Capture, Capture.id == ActivationShard.capture_id)
            .where(ActivationShard.block == block)
            .order_by(ActivationShard.first_row)
        )
        blobs = [blob for job_id in job_ids for blob in session.scalars(query.where(Capture.job_id == job_id))]
    for blob in blobs:
        tensors = record.blobs.load_tensors(blob)
        yield tensors["activations"].float() + tensors["mean"]
