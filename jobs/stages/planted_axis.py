"""The same analysis on models into which a welfare axis was written, or was not: is it what is found?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from sqlalchemy.orm import Session

from jobs.context import Context
from jobs.stage import Plan, Publish, Unit
from jobs.welfare.contrast import CONCEPTS, pattern_found
from jobs.welfare.evaluations import EVALUATIONS
from jobs.welfare.judges.rules import rules_digest
from jobs.welfare.planted import KINDS, MAZE, Settings, analyse, as_json, planted_pair
from tdlens.record import PlantedAxis, insert_rows

NAME = "planted_axis"
DESCRIPTION = "the same on models into which an axis was written, or was not: is it what is found?"

SETTINGS = Settings()


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each kind of pair."""
    common = {
        "maze": asdict(MAZE),
        "settings": SETTINGS.as_json(),
        "evaluations": list(EVALUATIONS),
        "rules": rules_digest(),
    }
    for kind in KINDS:
        yield Unit(NAME, kind, common | {"planted": as_json(kind)}, seed=context.study.seed, version=2)


def run(context: Context, unit: Unit) -> Publish:
    kind = next(kind for kind in KINDS if kind == unit.key)
    pair = planted_pair(kind, MAZE, unit.seed)
    with context.progress(f"planted axis {kind}", 2 * len(CONCEPTS) * len(EVALUATIONS)) as advance:
        found = analyse(pair, unit.seed, SETTINGS, advance)
    whole = pattern_found(found.contrasts, found.interactions)
    rows = [
        {
            "model": kind,
            "evaluation": name,
            "planted": pair.planted,
            "expected": one.expected,
            "contrast": one.interval.value,
            "ci_low": one.interval.low,
            "ci_high": one.interval.high,
            "cosine": found.cosine,
            "cohen_d": found.cohen_d,
            "found": whole,
        }
        for name, one in found.interactions.items()
        if one is not None
    ]

    def publish(session: Session, job_id: int) -> None:
        insert_rows(session, PlantedAxis, [{"job_id": job_id, **row} for row in rows])

    return publish
