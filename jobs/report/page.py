"""The page: one HTML file that holds everything, and the figures beside it as PNGs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

import tdlens
from jobs.report.drawing import Drawing, FigureModule, TaskReport
from jobs.report.graph_walk import REPORT as GRAPH_WALK
from jobs.report.grid_world import REPORT as GRID_WORLD
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.two_step import REPORT as TWO_STEP
from jobs.report.verdicts import Verdict, percent
from tdlens.errors import UserError
from tdlens.figures import data_uri, house_style, message, number, png
from tdlens.record import Record

REPORTS: dict[str, TaskReport] = {"two_step": TWO_STEP, "grid_world": GRID_WORLD, "graph_walk": GRAPH_WALK}
"""What is reported on a study, by its task."""


@dataclass(frozen=True)
class Shown:
    """A figure as the page shows it."""

    name: str
    title: str
    overlay: str
    image: str
    drawing: Drawing | None
    """None where the study has not recorded what it takes."""
    missing: str
    queries: list[str]


def write_report(record: Record, study: str, out: Path) -> Path:
    """Writes ``out/index.html``, which needs no other file, and ``out/figures/*.png``; gives the page's path.

    Reads nothing but the record's views and the published curves.

    Raises:
        UserError: there is no such study, or its task has no report.
    """
    reader = Reader(record, study)
    facts = StudyFacts(reader)
    report = _report_on(facts)
    folder = out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    with house_style():
        figures = [_show(module, reader.afresh(), facts, folder) for module in report.figures]
    asked = reader.afresh()
    claims = report.claims(asked, facts)
    counted = Counter(claim.ruling.verdict for claim in claims)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            facts=facts,
            confidence=percent(facts.confidence),
            report=report,
            figures=figures,
            claims=claims,
            claim_queries=asked.asked,
            tally=[(verdict, counted[verdict]) for verdict in Verdict],
            saes=_saes(reader.afresh()),
            jobs=_stages(facts.jobs),
            sources=_sources(facts.jobs),
            version=tdlens.__version__,
        )
    )
    path = out / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _report_on(facts: StudyFacts) -> TaskReport:
    if facts.task in REPORTS:
        return REPORTS[facts.task]
    raise UserError(
        f"There is no report on the task {facts.task!r} of the study {facts.name!r}.",
        f"These tasks have a report: {', '.join(sorted(REPORTS))}; any study can be asked with tdlens sql.",
    )


def _show(module: FigureModule, reader: Reader, facts: StudyFacts, folder: Path) -> Shown:
    drawing, missing = None, ""
    try:
        drawing = module.draw(reader, facts)
        figure = drawing.figure
    except NotRecorded as reason:
        missing = f"Not recorded in this study: {reason}."
        figure = message(missing)
    image = data_uri(png(figure, folder / f"{module.NAME}.png"))
    return Shown(module.NAME, module.TITLE, module.OVERLAY, image, drawing, missing, reader.asked)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jobs.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment


def _saes(reader: Reader) -> list[dict[str, Any]]:
    rows = reader.ask(
        """
        SELECT sae, block, architecture, d_in, d_latents, explained_variance, l0, live, dead, non_constant, seed
        FROM v_sae WHERE study = :study ORDER BY sae, block
        """
    )
    metrics = ["explained_variance", "l0", "live", "dead", "non_constant"]
    rows[metrics] = rows[metrics].apply(pd.to_numeric)
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _stages(jobs: pd.DataFrame) -> list[dict[str, Any]]:
    """One line a stage: how many jobs, in which state, over which time, with which seeds."""
    lines = []
    for stage, rows in jobs.groupby("stage", sort=False):
        started, finished = pd.to_datetime(rows["started"]).min(), pd.to_datetime(rows["finished"]).max()
        seeds = sorted({int(seed) for seed in rows["seed"].dropna()})
        lines.append(
            {
                "stage": stage,
                "jobs": len(rows),
                "states": ", ".join(f"{n} {state}" for state, n in rows["state"].value_counts().items()),
                "started": None if pd.isna(started) else started,
                "finished": None if pd.isna(finished) else finished,
                "seeds": f"{seeds[0]}–{seeds[-1]}" if len(seeds) > 1 else "".join(map(str, seeds)),
                "errors": [str(error) for error in rows["error"].dropna()],
            }
        )
    return lines


def _sources(jobs: pd.DataFrame) -> list[dict[str, Any]]:
    """The distinct circumstances in which jobs were computed: source, versions, device."""
    distinct = jobs[["git_commit", "git_dirty", "versions", "device"]].drop_duplicates()
    return [
        {
            "commit": row.git_commit,
            "dirty": bool(row.git_dirty) if row.git_dirty is not None else None,
            "versions": json.loads(str(row.versions)),
            "device": row.device,
        }
        for row in distinct.itertuples()
    ]
