"""Is the whole pattern of steering more than a control's? Slopes over the dose, contrasts and interactions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.context import Context
from jobs.stage import Plan, Publish, Unit
from jobs.stages import steer
from jobs.welfare.contrast import contrasts, item_means
from jobs.welfare.evaluations import EVALUATIONS
from tdlens.record import Artifact, SteeringContrast, insert_rows

NAME = "contrast"
DESCRIPTION = "slopes over the dose: do Gold's and Mold's vectors differ as expected, and more than controls do?"


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each training and what reads its vectors."""
    asked: dict[tuple[str, str], list[Unit]] = {}
    for unit in plan.of(steer.NAME):
        asked.setdefault((unit.config["training"], unit.config["reader"]), []).append(unit)
    for (training, reader), parents in asked.items():
        config = {"training": training, "reader": reader}
        # version 1 took slopes that it subtracted over different doses
        yield Unit(NAME, f"{training}/{reader}", config, tuple(parents), version=2)


def run(context: Context, unit: Unit) -> Publish:
    rows = [
        row
        for evaluation in dict.fromkeys(parent.config["evaluation"] for parent in unit.parents)
        for row in _rows(context, [parent for parent in unit.parents if parent.config["evaluation"] == evaluation])
    ]

    def publish(session: Session, job_id: int) -> None:
        about = {"job_id": job_id, "training": unit.config["training"], "reader": unit.config["reader"]}
        insert_rows(session, SteeringContrast, [about | row for row in rows])

    return publish


def _rows(context: Context, asked: list[Unit]) -> Iterator[dict[str, Any]]:
    """Of one evaluation."""
    evaluation = asked[0].config["evaluation"]
    replies = {
        (unit.config["source"], unit.config["concept"], unit.config["draw"]): _replies(context, unit) for unit in asked
    }
    kinds = dict.fromkeys(kind for table in replies.values() for kind in table["dose_kind"])
    for measure, sign in EVALUATIONS[evaluation].MEASURES.items():
        for kind in kinds:
            of_kind = {key: table[table["dose_kind"] == kind] for key, table in replies.items()}
            for found in contrasts({key: item_means(table, measure) for key, table in of_kind.items()}, sign):
                yield {
                    "dose_kind": kind,
                    "evaluation": evaluation,
                    "measure": measure,
                    "quantity": found.quantity,
                    "source": found.source,
                    "expected": found.expected,
                    "value": found.interval.value,
                    "ci_low": found.interval.low,
                    "ci_high": found.interval.high,
                    "p": found.interval.p,
                    "n": found.interval.n,
                }


def _replies(context: Context, unit: Unit) -> pd.DataFrame:
    query = select(Artifact.blob).where(Artifact.job_id == context.job_id(unit), Artifact.name == steer.ITEMS)
    with context.record.session(read_only=True) as session:
        blob = session.scalars(query).one()
    return context.record.blobs.load_table(blob)
