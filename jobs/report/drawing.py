"""What a figure module gives to the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from matplotlib.figure import Figure

from jobs.report.reader import Reader, StudyFacts
from jobs.report.verdicts import Ruling


@dataclass(frozen=True)
class Table:
    """A small table below a figure; cells are text already."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[int, ...] = (0,)
    """Columns that hold words; the others hold numbers."""


@dataclass(frozen=True)
class Drawing:
    """A figure with the words that go with it."""

    figure: Figure
    sees: str
    """What one sees, in plain language, with its numbers."""
    beside: str
    """The control or caveat that keeps the reading honest."""
    n: str
    """How much data."""
    table: Table | None = None


class FigureModule(Protocol):
    """One figure: a module with these names and a line in its task's ``FIGURES``."""

    NAME: str
    """Of the file, without its suffix."""
    TITLE: str
    OVERLAY: str
    """Where the published numbers come from, or that there are none."""

    def draw(self, reader: Reader, facts: StudyFacts) -> Drawing:
        """Read and draw.

        Raises:
            NotRecorded: the study has no rows for it.
        """


@dataclass(frozen=True)
class Claim:
    """A claim of the paper beside what the record says."""

    text: str
    published: str
    ours: str
    ruling: Ruling
    sentence: str
    """The outcome in one plain sentence."""
    parts: tuple[Claim, ...] = ()
    """What all has to hold for a claim that has no rule but this."""


@dataclass(frozen=True)
class TaskReport:
    """What is reported about the studies of one task."""

    figures: tuple[FigureModule, ...]
    claims: Callable[[Reader, StudyFacts], list[Claim]]
    paper: str
    """Whose claims these are."""
    differences: tuple[str, ...]
    """How our study differs from the paper's, for the reader to keep in mind."""
    reference: str = "Published"
    """What the numbers beside ours are."""
    template: str = "report.html.j2"
    """Of its page."""
