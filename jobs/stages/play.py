"""The model plays every variant, or reads what another did; its residual stream is captured at each decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from envs.game import Game
from jobs.context import Context
from jobs.inference.base import Edit
from jobs.inference.play import Played, Take, play, replay, tell, texts_at_once
from jobs.inference.progress import Advance
from jobs.networks.playing import play_games
from jobs.recording import record_model, record_rollouts, record_task
from jobs.shards import ShardWriters, record_capture
from jobs.stage import Plan, Publish, Unit
from tdlens.record import record_artifact

NAME = "play"
DESCRIPTION = "the model plays, or reads what another did; activations are captured at the decisions"

Q_VALUES = "q_values"
"""Name of the artifact of an agent's play, and of its one tensor: Q-values at every decision [R, T, actions]."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit a variant."""
    # in 16 bits version 1 had rotary frequencies of 16 bits too, and so other positions
    version = 1 if context.study.model.dtype == "float32" else 2
    for variant in context.study.task.variants:
        yield Unit(NAME, variant, play_config(context, variant), seed=context.study.seed, version=version)


def play_config(context: Context, variant: str) -> dict[str, Any]:
    """Everything that decides how a variant is played, captures included."""
    study = context.study
    task = context.task.config(variant=variant, **context.task_settings)
    return {
        "task": {"name": study.task.name, **asdict(task)},
        "rollouts": study.task.rollouts,
        **context.model_config,
        **({"engine": study.model.engine} if context.task.seen is None else {}),
        "blocks": list(context.blocks),
        "capture_dtype": study.capture.dtype,
    }


def run(context: Context, unit: Unit) -> Publish:
    return (_told if context.task.seen is None else _seen)(context, unit)


def _told(context: Context, unit: Unit) -> Publish:
    """A language model plays, or reads."""
    variant = unit.config["task"]["variant"]
    games = context.games(variant)
    decisions = sum(game.n_decisions for game in games)
    with context.progress(f"play {variant}", decisions) as advance, ShardWriters.of(context) as writers:
        played = perform(context, games, seed=unit.seed, progress=advance, capture=context.blocks, take=writers.take)
        shards = writers.results()

    def publish(session: Session, job_id: int) -> None:
        seeds = context.rollout_seeds
        step_ids, model_id = record_played(session, job_id, context, unit, games, seeds, played)
        record_capture(session, context, shards, step_ids, job_id=job_id, model_id=model_id)

    return publish


def _seen(context: Context, unit: Unit) -> Publish:
    """An agent plays what it sees as numbers; what it held each action to be worth is kept too."""
    variant = unit.config["task"]["variant"]
    games = context.seen_games(variant)
    decisions = sum(game.n_decisions for game in games)
    with context.progress(f"play {variant}", decisions) as advance, ShardWriters.of(context) as writers:
        q = play_games(
            context.player,
            games,
            capture=context.blocks,
            take=writers.take,
            batch_size=context.study.model.batch_size,
            progress=advance,
        )
        shards = writers.results()
    blob = context.record.blobs.put_tensors({Q_VALUES: torch.from_numpy(np.stack(q))})

    def publish(session: Session, job_id: int) -> None:
        step_ids, model_id = record_played(session, job_id, context, unit, games, context.rollout_seeds)
        record_capture(session, context, shards, step_ids, job_id=job_id, model_id=model_id)
        record_artifact(session, job_id, Q_VALUES, blob)

    return publish


def perform(
    context: Context,
    games: Sequence[Game],
    *,
    seed: int,
    progress: Advance,
    capture: Sequence[int] = (),
    take: Take | None = None,
    edits: Sequence[Edit] = (),
    edited: range | None = None,
) -> Played:
    """Let the study's model play the games in closed loop or, where the task tells what another did, read them."""
    engine, batch_size = context.engine, context.study.model.batch_size
    if context.task.teacher_forced:
        return replay(
            engine,
            [tell(game) for game in games],
            [game.actions for game in games],
            capture=capture,
            take=take,
            edits=edits,
            edited=edited,
            batch_size=texts_at_once(batch_size, engine.readers),
            progress=progress,
        )
    return play(
        engine,
        games,
        capture=capture,
        take=take,
        edits=edits,
        edited=edited,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )


def record_played(
    session: Session,
    job_id: int,
    context: Context,
    unit: Unit,
    games: Sequence[Game],
    seeds: Sequence[int],
    played: Played | None = None,
    *,
    first: int = 0,
    policy: str = "model",
    intervention_id: int | None = None,
) -> tuple[NDArray[np.int64], int]:
    """Insert the rollouts of a unit whose config has the task and settings of :func:`play_config`.

    Args:
        session: of the transaction.
        job_id: the unit's job.
        context: of the study.
        unit: the unit.
        games: at their end.
        seeds: of each.
        played: how a language model came to them; None where an agent played.
        first: the index of the first of them.
        policy: who chose.
        intervention_id: the intervention under which they were played.

    Returns:
        The keys of their steps [R, T], as far as all have as many, and the model's.
    """
    model_id = record_model(session, context.study.model.name, context.model_source, context.network)
    config = {key: value for key, value in unit.config["task"].items() if key != "name"}
    step_ids = record_rollouts(
        session,
        [game.steps for game in games],
        seeds,
        played,
        texts=[game.transcript().text for game in games],
        outcomes=[[outcome.name.lower() for outcome in getattr(game, "outcomes", ())] for game in games],
        first=first,
        job_id=job_id,
        task_id=record_task(session, context.study.task.name, config, context.task.actions),
        model_id=model_id if policy == "model" else None,
        policy=policy,
        intervention_id=intervention_id,
    )
    return step_ids, model_id
