"""The model plays every variant in closed loop; its residual stream is captured at each decision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy.orm import Session

from jobs.context import Context
from jobs.inference.play import play
from jobs.recording import record_model, record_rollouts, record_task
from jobs.shards import ShardWriters, record_capture
from jobs.stage import Plan, Publish, Unit

NAME = "play"
DESCRIPTION = "the model plays in closed loop; activations are captured at its decisions"


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit a variant."""
    # in 16 bits version 1 had rotary frequencies of 16 bits too, and so other positions
    version = 1 if context.study.model.dtype == "float32" else 2
    for variant in context.study.task.variants:
        yield Unit(NAME, variant, play_config(context, variant), seed=context.study.seed, version=version)


def play_config(context: Context, variant: str) -> dict[str, Any]:
    """Everything that decides how a variant is played, captures included."""
    study = context.study
    task = context.task.config(variant=variant, **study.task.settings)
    return {
        "task": {"name": study.task.name, **asdict(task)},
        "rollouts": study.task.rollouts,
        "model": asdict(context.engine.describe()),
        "engine": study.model.engine,
        "blocks": list(context.blocks),
        "capture_dtype": study.capture.dtype,
    }


def run(context: Context, unit: Unit) -> Publish:
    variant = unit.config["task"]["variant"]
    games = context.games(variant)
    decisions = sum(game.n_decisions for game in games)
    with context.progress(f"play {variant}", decisions) as advance, ShardWriters.of(context) as writers:
        played = play(
            context.engine,
            games,
            capture=context.blocks,
            take=writers.take,
            seed=unit.seed,
            batch_size=context.study.model.batch_size,
            progress=advance,
        )
        shards = writers.results()

    def publish(session: Session, job_id: int) -> None:
        model = context.study.model.name
        model_id = record_model(session, model, context.model_files.source, context.engine)
        config = {key: value for key, value in unit.config["task"].items() if key != "name"}
        task_id = record_task(session, context.study.task.name, config, context.task.actions)
        step_ids = record_rollouts(
            session,
            [game.steps for game in games],
            context.rollout_seeds,
            played,
            job_id=job_id,
            task_id=task_id,
            model_id=model_id,
            policy="model",
        )
        record_capture(session, context, shards, step_ids, job_id=job_id, model_id=model_id)

    return publish
