"""A study's page: one HTML file that holds everything, and the figures beside it as PNGs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

import tdlens
from jobs.report.drawing import Claim, Drawing, FigureModule, TaskReport
from jobs.report.graph_walk import REPORT as GRAPH_WALK
from jobs.report.grid_world import REPORT as GRID_WORLD
from jobs.report.head_ablation import REPORT as HEAD_ABLATION
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.rook_endgame import REPORT as ROOK_ENDGAME
from jobs.report.two_step import REPORT as TWO_STEP
from jobs.report.verdicts import Verdict, percent
from jobs.report.welfare_axis import REPORT as WELFARE_AXIS
from tdlens.errors import UserError
from tdlens.figures import data_uri, house_style, message, number, png
from tdlens.record import Record

REPORTS: dict[str, TaskReport] = {
    "two_step": TWO_STEP,
    "grid_world": GRID_WORLD,
    "graph_walk": GRAPH_WALK,
    "rook_endgame": ROOK_ENDGAME,
    "head_ablation": HEAD_ABLATION,
    "maze": WELFARE_AXIS,
}
"""What is reported on a study, by its task."""


@dataclass(frozen=True)
class Shown:
    """A figure as a page shows it."""

    anchor: str
    title: str
    overlay: str
    image: str
    drawing: Drawing | None
    """None where the study has not recorded what it takes."""
    missing: str
    queries: list[str]


@dataclass(frozen=True)
class Section:
    """What a page says about one study."""

    facts: StudyFacts
    report: TaskReport
    figures: list[Shown]
    claims: list[Claim]
    claim_queries: list[str]
    saes: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    """One line a stage."""
    sources: list[dict[str, Any]]
    """The distinct circumstances in which jobs were computed."""

    @property
    def tally(self) -> list[tuple[Verdict, int]]:
        """How many claims have each verdict."""
        return tally(self.claims)

    @property
    def confidence(self) -> str:
        """Of the intervals of correlations."""
        return percent(self.facts.confidence)


def write_report(record: Record, study: str, out: Path) -> Path:
    """Writes ``out/index.html``, which needs no other file, and ``out/figures/*.png``; gives the page's path.

    Reads nothing but the record's views and the published curves.

    Raises:
        UserError: there is no such study, or its task has no report.
    """
    section = section_of(Reader(record, study), out / "figures")
    return write_page(section.report.template, out, section=section)


def section_of(reader: Reader, folder: Path, prefix: str = "") -> Section:
    """Draws a study's figures into a folder and puts its claims to their rules.

    Args:
        reader: of the study.
        folder: of the PNGs, made if need be.
        prefix: of the figures' anchors, where several studies share a page.

    Raises:
        UserError: there is no such study, or its task has no report.
    """
    facts = StudyFacts(reader)
    report = _report_on(facts)
    figures = [show(module, reader.afresh(), facts, folder, prefix) for module in report.figures]
    asked = reader.afresh()
    claims = report.claims(asked, facts)
    return Section(
        facts=facts,
        report=report,
        figures=figures,
        claims=claims,
        claim_queries=asked.asked,
        saes=_saes(reader.afresh(), facts),
        jobs=_stages(facts.jobs),
        sources=_sources(facts.jobs),
    )


def write_page(template: str, out: Path, **content: Any) -> Path:
    """Renders ``out/index.html`` and gives its path."""
    out.mkdir(parents=True, exist_ok=True)
    page = _environment().get_template(template).render(version=tdlens.__version__, **content)
    path = out / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def tally(claims: Iterable[Claim]) -> list[tuple[Verdict, int]]:
    """How many claims have each verdict."""
    counted = Counter(claim.ruling.verdict for claim in claims)
    return [(verdict, counted[verdict]) for verdict in Verdict]


def _report_on(facts: StudyFacts) -> TaskReport:
    if facts.task in REPORTS:
        return REPORTS[facts.task]
    raise UserError(
        f"There is no report on the task {facts.task!r} of the study {facts.name!r}.",
        f"These tasks have a report: {', '.join(sorted(REPORTS))}; any study can be asked with tdlens sql.",
    )


def show(module: FigureModule, reader: Reader, facts: StudyFacts, folder: Path, prefix: str = "") -> Shown:
    """Draws one figure, or says in its place what the study has not recorded."""
    folder.mkdir(parents=True, exist_ok=True)
    drawing, missing = None, ""
    with house_style():
        try:
            drawing = module.draw(reader, facts)
            figure = drawing.figure
        except NotRecorded as reason:
            missing = f"Not recorded in this study: {reason}."
            figure = message(missing)
        image = data_uri(png(figure, folder / f"{module.NAME}.png"))
    return Shown(f"{prefix}{module.NAME}", module.TITLE, module.OVERLAY, image, drawing, missing, reader.asked)


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


def _saes(reader: Reader, facts: StudyFacts) -> list[dict[str, Any]]:
    rows = reader.ask(
        """
        SELECT sae, block, architecture, d_in, d_latents, explained_variance, l0, live, dead, non_constant, seed
        FROM v_sae WHERE study = :study AND model = :model ORDER BY sae, block
        """,
        model=facts.model,
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
    distinct = jobs.loc[jobs["state"] == "done", ["git_commit", "git_dirty", "versions", "device"]].drop_duplicates()
    return [
        {
            "commit": row.git_commit,
            "dirty": bool(row.git_dirty) if row.git_dirty is not None else None,
            "versions": json.loads(str(row.versions)),
            "device": row.device,
        }
        for row in distinct.itertuples()
    ]
