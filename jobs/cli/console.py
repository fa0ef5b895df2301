"""How commands speak: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tdlens.errors import UserError


def output() -> Console:
    """For results. Without a terminal lines are never cut, so that they can be piped."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=10_000)


def messages() -> Console:
    """For progress, hints and errors."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=not sys.stderr.isatty())


def say_error(error: UserError) -> None:
    """The message and, on a line of its own, the remedy. Where nothing can be written the exit code must do."""
    console = messages()
    with suppress(OSError):
        console.print(Text("Error: ", style="bold red").append(error.message, style="not bold default"))
        console.print(Text("  Fix: ", style="bold green").append(error.remedy, style="not bold default"))


def table(columns: Iterable[str], rows: Iterable[Iterable[Any]], *, numeric: Iterable[str] = ()) -> Table:
    """A plain table; ``numeric`` columns are aligned to the right."""
    right = set(numeric)
    made = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(_text(cell)) for cell in row))
    return made


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
