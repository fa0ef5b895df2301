"""Head scores in the record: of one row a head and episode, and back again as a table an episode."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from envs.head_ablation import TableScores, head_name
from jobs.circuits.episodes import task_config
from jobs.context import Context
from jobs.recording import record_task
from jobs.stage import Unit
from tdlens.record import HeadScore

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode whose heads were all ablated."""

    task: str
    seed: int
    scores: TableScores
    """Of every head."""
    attribution: Floats | None
    """First-order estimates of the same scores [heads], where they were made."""


def record_variant(session: Session, context: Context, task: str) -> int:
    """The row of one of the study's tasks; its actions are the model's heads."""
    per_block = context.engine.n_heads
    names = [head_name(head, per_block) for head in range(context.engine.n_blocks * per_block)]
    return record_task(session, context.study.task.name, asdict(task_config(context, task)), names)


def read_episodes(context: Context, units: Iterable[Unit]) -> list[Episode]:
    """The episodes of some units of the stage that ablates, in the order of the units and of their seeds."""
    found: list[Episode] = []
    with context.record.session(read_only=True) as session:
        for unit in units:
            found += _of_unit(session, context, unit)
    return found


def by_task(episodes: Iterable[Episode]) -> dict[str, list[Episode]]:
    """The same by their task, each in the order given."""
    found: dict[str, list[Episode]] = {}
    for episode in episodes:
        found.setdefault(episode.task, []).append(episode)
    return found


def _of_unit(session: Session, context: Context, unit: Unit) -> list[Episode]:
    columns = (HeadScore.seed, HeadScore.task_damage, HeadScore.control_damage, HeadScore.attribution)
    query = (
        select(*columns)
        .where(HeadScore.job_id == context.job_id(unit))
        .order_by(HeadScore.seed, HeadScore.block, HeadScore.head)
    )
    rows = session.execute(query).all()
    seeds, numbers = np.array([row.seed for row in rows]), np.array([row[1:] for row in rows], dtype=np.float64)
    config, heads = unit.config["task"], context.engine.n_heads
    episodes = []
    for seed in unit.config["seeds"]:
        task_damage, control_damage, attribution = numbers[seeds == seed].T
        scores = TableScores(task_damage, control_damage, config["control_weight"], len(task_damage) // heads, heads)
        estimated = None if np.isnan(attribution).any() else attribution
        episodes.append(Episode(config["variant"], seed, scores, estimated))
    return episodes
