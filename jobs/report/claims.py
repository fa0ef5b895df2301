"""Putting a claim, its numbers and its rule into a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from jobs.report import verdicts
from jobs.report.drawing import Claim
from jobs.report.reader import NotRecorded
from jobs.report.verdicts import Interval, Ruling, Verdict

T = TypeVar("T")

NOT_PUBLISHED = "–"
UNRECORDED = "not recorded"


def claim(text: str, published: str, ours: str, ruling: Ruling, *, yes: str, no: str, maybe: str) -> Claim:
    """A claim with the sentence that fits its verdict."""
    sentence = {Verdict.REPLICATES: yes, Verdict.DIFFERS: no, Verdict.UNCLEAR: maybe}[ruling.verdict]
    if UNRECORDED in ours and ruling.verdict is Verdict.UNCLEAR:
        sentence = "This study has not recorded what it takes to tell."
    return Claim(text, published, ours, ruling, sentence)


def together(text: str, published: str, parts: list[Claim], *, yes: str, no: str, maybe: str) -> Claim:
    """A claim that holds if all of its parts do."""
    found = [part.ruling.verdict for part in parts]
    ours = f"{found.count(Verdict.REPLICATES)} of {len(parts)} conditions hold"
    sentences = {"yes": yes, "no": no, "maybe": maybe}
    whole = claim(text, published, ours, verdicts.together(found), **sentences)
    return Claim(whole.text, published, ours, whole.ruling, whole.sentence, tuple(parts))


def shown(interval: Interval | None, digits: int = 2, unit: str = "") -> str:
    """An interval for a table's cell."""
    return UNRECORDED if interval is None else interval.text(digits) + unit


def or_none(read: Callable[[], T]) -> T | None:
    """What is read, or None where the study has not recorded it."""
    try:
        return read()
    except NotRecorded:
        return None
