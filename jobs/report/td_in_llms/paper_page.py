"""One page on the three studies of the paper, from the record alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jobs.report.drawing import FigureModule
from jobs.report.page import Section, section_of, show, tally, write_page
from jobs.report.paper import PAPER
from jobs.report.reader import Reader, StudyFacts
from jobs.report.td_in_llms import fig1_tasks, published_runs
from jobs.report.td_in_llms.table import Line, lines_of
from jobs.report.td_in_llms.traps import TRAPS
from tdlens.errors import UserError
from tdlens.record import Record

NAME = "td-in-llms"
"""What the reproduction of the paper is called in commands and folders."""

STUDIES = {"two_step": "two_step_demo", "grid_world": "grid_world", "graph_walk": "graph_walk"}
"""Task and the study of it, in the paper's order."""

PUBLICATION = "demircan2025"
"""Under this name tdlens import-published has the paper's own curves and runs."""

TITLES = {"two_step": "Two-Step", "grid_world": "Grid World", "graph_walk": "Graph"}
WHOLE: tuple[FigureModule, ...] = (fig1_tasks, published_runs)
"""Figures that are of no one task's study."""


@dataclass(frozen=True)
class Chapter:
    """A task on the page."""

    task: str
    title: str
    study: str
    section: Section | None
    """None where its study isn't in the record."""
    lines: list[Line]


def write_paper(record: Record, out: Path) -> Path:
    """Writes ``out/index.html`` and ``out/figures/<task>/*.png``; gives the page's path.

    Raises:
        UserError: none of the studies is in the record.
    """
    there = set(record.query("SELECT study FROM v_study")["study"])
    if not there & set(STUDIES.values()):
        raise UserError("None of the paper's studies is in the record.", f"Run them: tdlens reproduce {NAME}")
    chapters = [_chapter(task, Reader(record, study), out, recorded=study in there) for task, study in STUDIES.items()]
    sections = [chapter.section for chapter in chapters if chapter.section is not None]
    facts = sections[0].facts
    whole = [show(module, Reader(record, facts.name), facts, out / "figures") for module in WHOLE]
    return write_page(
        "td_in_llms.html.j2",
        out,
        paper=PAPER,
        chapters=chapters,
        models=_models(sections),
        whole=whole,
        tally=tally(claim for section in sections for claim in section.claims),
        confidence=sections[0].confidence,
        traps=TRAPS,
        titles={figure.anchor: figure.title for section in sections for figure in section.figures},
    )


def _chapter(task: str, reader: Reader, out: Path, *, recorded: bool) -> Chapter:
    if not recorded:
        return Chapter(task, TITLES[task], reader.study, None, lines_of(task, reader, None, ()))
    section = section_of(reader, out / "figures" / task, f"{task}-")
    return Chapter(task, TITLES[task], reader.study, section, lines_of(task, reader, section.facts, section.claims))


def _models(sections: list[Section]) -> list[StudyFacts]:
    """One of the studies for each model that was studied: more than one says that they can't be read together."""
    found: dict[str, StudyFacts] = {}
    for section in sections:
        facts = section.facts
        found.setdefault(str(facts.network.get("fingerprint", facts.model)), facts)
    return list(found.values())
