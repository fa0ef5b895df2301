"""What the model does in other versions of the task, and in more rollouts of the first: behaviour only."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.orm import Session

from jobs.context import Context
from jobs.stage import Plan, Publish, Unit
from jobs.stages.play import perform, play_config, record_played

NAME = "compare"
DESCRIPTION = "the model plays or reads control versions of the task and further rollouts; nothing is captured"

OTHER_SEEDS = 2**32
"""Added to the study's seed, so that further rollouts don't repeat the choices' random numbers."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each control version, on the seeds of the rollouts that are analysed, and one for those beyond."""
    task, seed = context.study.task, context.study.seed
    for variant in task.controls:
        yield Unit(NAME, variant, _config(context, variant, 0, task.rollouts), seed=seed)
    if task.further_rollouts:
        config = _config(context, task.variants[0], task.rollouts, task.further_rollouts)
        yield Unit(NAME, f"{task.variants[0]}, further rollouts", config, seed=seed + OTHER_SEEDS)


def run(context: Context, unit: Unit) -> Publish:
    first = unit.config["first"]
    seeds = context.seeds(unit.config["rollouts"], first)
    games = context.games(unit.config["task"]["variant"], seeds)
    with context.progress(f"compare {unit.key}", sum(game.n_decisions for game in games)) as advance:
        played = perform(context, games, seed=unit.seed, progress=advance)

    def publish(session: Session, job_id: int) -> None:
        record_played(session, job_id, context, unit, games, seeds, played, first=first)

    return publish


def _config(context: Context, variant: str, first: int, rollouts: int) -> dict[str, object]:
    config = play_config(context, variant)
    kept = {name: config[name] for name in ("task", "model", "engine")}
    return {**kept, "first": first, "rollouts": rollouts}
