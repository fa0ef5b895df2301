"""The table of headline numbers: published, ours, interval, verdict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jobs.published import headlines
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED
from jobs.report.drawing import Claim
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.td_in_llms import graph_numbers, grid_numbers, two_step_numbers
from jobs.report.td_in_llms.row import Row
from jobs.report.verdicts import Interval
from tdlens.figures import number

ROWS: dict[str, tuple[Row, ...]] = {
    "two_step": two_step_numbers.ROWS,
    "grid_world": grid_numbers.ROWS,
    "graph_walk": graph_numbers.ROWS,
}
"""By task, in the paper's order."""


@dataclass(frozen=True)
class Line:
    """A row as the page shows it."""

    quantity: str
    published: str
    source: str
    """Where the paper says so."""
    ours: str
    interval: str
    figure: str
    """Anchor."""
    claim: Claim | None
    """Whose verdict it has."""
    queries: list[str]


def lines_of(task: str, reader: Reader, facts: StudyFacts | None, claims: Iterable[Claim]) -> list[Line]:
    """The rows of one task, with the verdicts of its claims; ours are not recorded where its study isn't."""
    by_text = {claim.text: claim for claim in claims}
    return [_line(task, row, reader.afresh(), facts, by_text.get(row.claim)) for row in ROWS[task]]


def _line(task: str, row: Row, reader: Reader, facts: StudyFacts | None, claim: Claim | None) -> Line:
    known = headlines("td_in_llms").get(row.published)
    published = row.published if known is None else _with_unit(number(known.value, row.digits), row)
    ours, interval = _measured(row, reader, facts)
    source = known.source if known is not None else "text or figure"
    return Line(row.quantity, published, source, ours, interval, f"{task}-{row.figure}", claim, reader.asked)


def _measured(row: Row, reader: Reader, facts: StudyFacts | None) -> tuple[str, str]:
    """Ours and its interval as text."""
    if row.measure is None:
        return NOT_PUBLISHED, ""
    if facts is None:
        return UNRECORDED, ""
    try:
        measured = row.measure(reader, facts)
    except NotRecorded:
        return UNRECORDED, ""
    if measured is None:
        return UNRECORDED, ""
    if isinstance(measured, str):
        return measured, ""
    if isinstance(measured, Interval):
        bounds = f"{number(measured.low, row.digits)} to {number(measured.high, row.digits)}" if measured.known else ""
        return _with_unit(number(measured.value, row.digits), row), bounds
    return _with_unit(number(measured, row.digits), row), ""


def _with_unit(text: str, row: Row) -> str:
    return f"{text} {row.unit}".strip()
