"""Every head of the model is ablated in every episode: what it does to the task, and to control text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from envs.head_ablation import TableScores
from jobs.circuits.attribution import attribution
from jobs.circuits.episodes import common_config, episodes_of, evaluation_seeds, pool_seeds, task_config
from jobs.circuits.tables import record_variant
from jobs.context import Context
from jobs.recording import record_model
from jobs.stage import Plan, Publish, Unit
from tdlens.record import HeadScore, insert_columns

NAME = "ablate"
DESCRIPTION = "every head is ablated in every episode: what that does to the task and to control text"

EPISODES = 8
"""Of a unit: some seconds of the shipped model."""
TRAINING, EVALUATION = "training", "evaluation"


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for some episodes of a task and one kind of ablation."""
    section, own = context.study.search, episodes_of(context).config.ablation
    for task in context.study.task.variants:
        evaluated = evaluation_seeds(context, task)
        yield from _chunks(context, task, EVALUATION, own, evaluated)
        if task in section.tasks:
            yield from _chunks(context, task, TRAINING, own, pool_seeds(context, task))
        for kind in section.compared:
            if kind != own:
                few = evaluated if kind == "mean" else evaluated[: section.compared_episodes]
                yield from _chunks(context, task, EVALUATION, kind, few)


def of_study(context: Context, plan: Plan, split: str, ablation: str | None = None) -> tuple[Unit, ...]:
    """The planned units of a split, of the study's own ablation if no other is named."""
    wanted = (split, ablation or episodes_of(context).config.ablation)
    return tuple(u for u in plan.of(NAME) if (u.config["split"], u.config["task"]["ablation"]) == wanted)


def _chunks(context: Context, task: str, split: str, ablation: str, seeds: list[int]) -> Iterator[Unit]:
    settings = asdict(task_config(context, task)) | {"name": context.study.task.name, "ablation": ablation}
    del settings["steps"]  # how long a search may last is of no account to the heads
    for first in range(0, len(seeds), EPISODES):
        config = {
            **common_config(context),
            "task": settings,
            "split": split,
            "attribution": split == EVALUATION and ablation == task_config(context, task).ablation,
            "seeds": seeds[first : first + EPISODES],
        }
        yield Unit(NAME, f"{task}/{split}/{ablation}/{first:03d}", config)


def run(context: Context, unit: Unit) -> Publish:
    task, ablation, seeds = unit.config["task"]["variant"], unit.config["task"]["ablation"], unit.config["seeds"]
    episodes, engine = episodes_of(context), context.engine
    tables: list[TableScores] = []
    estimates: list[Any] = []
    with context.progress(f"ablate {unit.key}", len(seeds)) as advance:
        for seed in seeds:
            scorer = episodes.scorer(task, seed, ablation)
            tables.append(scorer.table(lambda share: advance(share)))
            if unit.config["attribution"]:
                estimates.append(
                    attribution(
                        engine,
                        episodes.prompts(task, seed),
                        episodes.control_rows(seed),
                        ablation=ablation,
                        weight=episodes.config.control_weight,
                    )
                )
    n = tables[0].n_blocks * tables[0].n_heads
    block, head = np.divmod(np.arange(n), tables[0].n_heads)
    columns = {
        "seed": np.repeat(np.array(seeds, dtype=np.int64), n),
        "block": np.tile(block + 1, len(seeds)),
        "head": np.tile(head, len(seeds)),
        "task_damage": np.concatenate([table.task_damage for table in tables]),
        "control_damage": np.concatenate([table.control_damage for table in tables]),
        "score": np.concatenate([table.scores for table in tables]),
        **({"attribution": np.concatenate(estimates)} if estimates else {}),
    }

    def publish(session: Session, job_id: int) -> None:
        model_id = record_model(session, context.study.model.name, context.model_source, engine)
        task_id = record_variant(session, context, task)
        common = {"job_id": job_id, "model_id": model_id, "task_id": task_id, "ablation": ablation}
        insert_columns(session, HeadScore, {**common, "split": unit.config["split"], **columns})

    return publish
