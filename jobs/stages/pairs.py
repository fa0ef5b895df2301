"""Heads that answer for a task are ablated two by two: do some stand in for others, so that one alone shows little?"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.circuits.episodes import episodes_of, evaluation_seeds
from jobs.circuits.pairs import pair_damage
from jobs.circuits.tables import record_variant
from jobs.context import Context
from jobs.recording import record_model
from jobs.stage import Plan, Publish, Unit
from tdlens.record import HeadMeasure, HeadPair, insert_rows

NAME = "pairs"
DESCRIPTION = "heads of the largest direct effect are ablated two by two: which stand in for each other?"

EPISODES = 16
"""Evaluation episodes of each task, at most."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit a task."""
    n = min(context.study.search.paired, context.engine.n_blocks * context.engine.n_heads)
    if n < 2:
        return
    settings = episodes_of(context).config
    for task in context.study.task.variants:
        config = {
            **context.model_config,
            "task": task,
            "prompts": settings.prompts,
            "ablation": settings.ablation,
            "heads": n,
            "seeds": evaluation_seeds(context, task)[:EPISODES],
        }
        yield Unit(NAME, task, config, tuple(unit for unit in plan.of("heads") if unit.key == task))


def run(context: Context, unit: Unit) -> Publish:
    task, seeds = unit.config["task"], unit.config["seeds"]
    episodes, per_block = episodes_of(context), context.engine.n_heads
    heads = _strongest(context, unit)
    rows = []
    with context.progress(f"pairs {task}", len(seeds)) as advance:
        for seed in seeds:
            prompts = episodes.prompts(task, seed)
            found = pair_damage(context.engine, prompts, heads, ablation=unit.config["ablation"])
            for (one, other), damage, excess in zip(found.pairs, found.together, found.excess, strict=True):
                place = {"block": one // per_block + 1, "head": one % per_block}
                with_it = {"other_block": other // per_block + 1, "other_head": other % per_block}
                rows.append({"seed": seed, **place, **with_it, "damage": damage, "excess": excess})
            advance(1)

    def publish(session: Session, job_id: int) -> None:
        model_id = record_model(session, context.study.model.name, context.model_source, context.network)
        common = {"job_id": job_id, "model_id": model_id, "task_id": record_variant(session, context, task)}
        insert_rows(session, HeadPair, [common | row for row in rows])

    return publish


def _strongest(context: Context, unit: Unit) -> list[int]:
    """The heads of the largest direct effect on the task, in the order of their numbers."""
    query = select(HeadMeasure.block, HeadMeasure.head, HeadMeasure.value).where(
        HeadMeasure.job_id == context.job_id(unit.parents[0]),
        HeadMeasure.task == unit.config["task"],
        HeadMeasure.measure == "direct_effect",
    )
    with context.record.session(read_only=True) as session:
        measured = session.execute(query.order_by(HeadMeasure.block, HeadMeasure.head)).all()
    largest = np.argsort([-abs(row.value) for row in measured], kind="stable")[: unit.config["heads"]]
    return sorted((measured[i].block - 1) * context.engine.n_heads + measured[i].head for i in largest)
