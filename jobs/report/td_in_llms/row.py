"""One row of the table of headline numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jobs.report.reader import Reader, StudyFacts
from jobs.report.verdicts import Interval

Measured = Interval | float | str | None
"""An estimate with its interval, a number that has none, words, or nothing where it isn't recorded."""


@dataclass(frozen=True)
class Row:
    """A number of the paper, how ours is read, and the claim that it stands for."""

    quantity: str
    published: str
    """Name of the published headline, or words where the paper gives no single number."""
    measure: Callable[[Reader, StudyFacts], Measured] | None
    """Reads ours; None where we have no counterpart."""
    figure: str
    """Name of the figure that shows it."""
    claim: str = ""
    """Text of the claim whose verdict it has; a yardstick has none."""
    digits: int = 2
    unit: str = ""
