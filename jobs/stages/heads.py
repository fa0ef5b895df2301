"""What heads do by the looks of them: whom they attend to, and what they write towards the answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy.orm import Session

from jobs.circuits.ablation import local
from jobs.circuits.detectors import ANY_TASK, Measures, head_measures, labels, role_attention
from jobs.circuits.direct_effect import direct_effect
from jobs.circuits.episodes import episodes_of, measured_seed
from jobs.context import Context
from jobs.published import curve
from jobs.recording import record_model
from jobs.stage import Plan, Publish, Unit
from tdlens.record import HeadLabel, HeadMeasure, insert_rows

NAME = "heads"
DESCRIPTION = "attention patterns and direct effects of all heads, and what they are known for"

PATTERN = "attention pattern"
SEEN_BY = defaultdict(lambda: f"{PATTERN} and direct effect", {ANY_TASK: PATTERN, "greater_than": PATTERN})
"""What the labels of a task go by."""
PUBLISHED = ("gpt2", "openai-community/gpt2")
"""Names on the hub of the model whose heads are known from the literature."""
SOURCES = {
    "induction": "induction scores on a published page, as in Khadka (2026)",
    "ioi": "Wang et al. (2023, arXiv 2211.00593)",
}
"""Who says so, by task."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for what belongs to no task, and one for each task."""
    yield Unit(NAME, "any", context.model_config, seed=context.study.seed)
    prompts = episodes_of(context).config.prompts
    for task in context.study.task.variants:
        config = {**context.model_config, "task": task, "prompts": prompts, "published": _is_published(context)}
        yield Unit(NAME, task, config, seed=measured_seed(context, task))


def run(context: Context, unit: Unit) -> Publish:
    task = unit.config.get("task", ANY_TASK)
    with context.progress(f"heads {unit.key}", 1) as advance:
        measures = _measures(context, task, unit.seed)
        advance(1)
    values = [
        {"task": task, "measure": name, "block": block, "head": head, "value": float(value)}
        for name, by_block in measures[task].items()
        for block, row in enumerate(by_block, start=1)
        for head, value in enumerate(row)
    ]
    known = [asdict(found) | {"source": SEEN_BY[found.task]} for found in labels(measures)]
    if unit.config.get("published"):
        known += _published(task)

    def publish(session: Session, job_id: int) -> None:
        model_id = record_model(session, context.study.model.name, context.model_source, context.network)
        common = {"job_id": job_id, "model_id": model_id}
        insert_rows(session, HeadMeasure, [common | row for row in values])
        insert_rows(session, HeadLabel, [common | row for row in known])

    return publish


def _measures(context: Context, task: str, seed: int) -> Measures:
    if task == ANY_TASK:
        return head_measures(context.engine, {}, seed=seed)
    prompts = episodes_of(context).prompts(task, seed)
    direct = {"direct_effect": direct_effect(local(context.engine), prompts)}
    return {task: role_attention(context.engine, task, prompts) | direct}


def _is_published(context: Context) -> bool:
    name, at, _ = context.model_source.partition("@")
    return name in PUBLISHED and bool(at)


def _published(task: str) -> list[dict[str, Any]]:
    """What the literature says of GPT-2 small's heads."""
    found = []
    for row in curve("mechrl", "known_heads").to_dict("records"):
        of_task, label = row["variant"].split("/")
        if of_task == task:
            place = {"block": row["layer"] + 1, "head": row["head"]}
            found.append({"task": task, "label": f"published {label}", **place, "source": SOURCES[task]})
    return found
