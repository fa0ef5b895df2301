"""How long work on a model's files says how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[float], None]
"""Moves a bar on by so many units."""
Progress = Callable[[str, float], AbstractContextManager[Advance]]
"""``with progress(description, total) as advance`` shows a bar."""


@contextmanager
def silent(description: str, total: float) -> Iterator[Advance]:
    """Shows nothing."""
    yield lambda n: None
