"""What heads do by the looks of them: whom they attend to, and what they write towards the answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from sqlalchemy.orm import Session

from jobs.circuits.detectors import head_measures, labels
from jobs.circuits.episodes import common_config, episodes_of, evaluation_seeds, task_config
from jobs.context import Context
from jobs.published import curve
from jobs.recording import record_model
from jobs.stage import Plan, Publish, Unit
from tdlens.record import HeadLabel, HeadMeasure, insert_rows

NAME = "heads"
DESCRIPTION = "attention patterns and direct effects of all heads, and what they are known for"

GPT2_SMALL = {"architecture": "GPT2LMHeadModel", "n_blocks": 12, "d_model": 768}
"""The model whose heads are known from the literature."""
SOURCES = {
    "induction": "induction scores on a published page, as in Khadka (2026)",
    "ioi": "Wang et al. (2023, arXiv 2211.00593)",
}
"""Of the known heads, by task."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit, over the first evaluation episode of each task."""
    tasks = {}
    for task in context.study.task.variants:
        tasks[task] = asdict(task_config(context, task)) | {"seed": evaluation_seeds(context, task)[0]}
    yield Unit(NAME, "all", {**common_config(context), "tasks": tasks}, seed=context.study.seed)


def run(context: Context, unit: Unit) -> Publish:
    episodes, tasks = episodes_of(context), unit.config["tasks"]
    with context.progress("attention patterns", 1) as advance:
        prompts = {task: episodes.prompts(task, settings["seed"]) for task, settings in tasks.items()}
        measures = head_measures(context.engine, prompts, seed=unit.seed)
        advance(1)
    values = [
        {"task": task, "measure": name, "block": block, "head": head, "value": float(value)}
        for task, of_task in measures.items()
        for name, by_block in of_task.items()
        for block, row in enumerate(by_block, start=1)
        for head, value in enumerate(row)
    ]
    known = [asdict(found) | {"source": "attention pattern"} for found in labels(measures)]
    known += list(_published(unit.config["model"], list(tasks)))

    def publish(session: Session, job_id: int) -> None:
        model_id = record_model(session, context.study.model.name, context.model_source, context.network)
        common = {"job_id": job_id, "model_id": model_id}
        insert_rows(session, HeadMeasure, [common | row for row in values])
        insert_rows(session, HeadLabel, [common | row for row in known])

    return publish


def _published(model: dict[str, Any], tasks: list[str]) -> Iterator[dict[str, Any]]:
    """What the literature says of GPT-2 small's heads; nothing of any other model's."""
    if any(model[key] != value for key, value in GPT2_SMALL.items()):
        return
    for row in curve("mechrl", "known_heads").to_dict("records"):
        task, label = row["variant"].split("/")
        if task in tasks:
            place = {"block": row["layer"] + 1, "head": row["head"]}
            yield {"task": task, "label": f"published {label}", **place, "source": SOURCES[task]}
