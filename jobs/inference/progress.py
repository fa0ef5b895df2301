"""How long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

Advance = Callable[[float], None]
"""Moves a bar on by so many units."""
Progress = Callable[[str, float], AbstractContextManager[Advance]]
"""``with progress(description, total) as advance`` shows a bar."""


@contextmanager
def silent(description: str, total: float) -> Iterator[Advance]:
    """Shows nothing."""
    yield lambda n: None


class ProgressBars(Protocol):
    """What shows how far something is: rich's ``Progress``, or a worker's messages to its supervisor."""

    def add_task(self, description: str, *, total: float) -> Any:
        """A new bar; its handle."""

    def advance(self, task_id: Any, advance: float) -> None:
        """Move a bar on."""

    def remove_task(self, task_id: Any) -> None:
        """Take a bar away."""


def shown_on(bars: ProgressBars) -> Progress:
    """Progress that is shown as one more bar."""

    @contextmanager
    def shown(description: str, total: float) -> Iterator[Advance]:
        bar = bars.add_task(description, total=total)
        try:
            yield lambda n: bars.advance(bar, n)
        finally:
            bars.remove_task(bar)

    return shown
