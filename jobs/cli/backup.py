"""``tdlens backup`` and ``tdlens restore``: the whole record in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from jobs.cli.console import messages


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(backup)
    app.command()(restore)


def backup(folder: Annotated[Path, typer.Argument(show_default=False)]) -> None:
    """
    Copy the record, database and blobs, into a folder. Runs may go on meanwhile.

    A second backup into the same folder copies only blobs that are new. An interrupted one leaves the one before
    as it was. MLflow's copy isn't part of it: **tdlens sync-mlflow** writes that again.

    **Example**

    $ tdlens backup /safe/tdlens && TDLENS_HOME=/tmp/rehearsal tdlens restore /safe/tdlens
    """
    from tdlens import backup
    from tdlens.record import Record
    from tdlens.settings import Settings

    record = Record.open(Settings.from_environment())
    try:
        with _bar("Copying blobs") as advance:
            made = backup.backup(record, folder.absolute(), advance)
    finally:
        record.close()
    n_rows = sum(made.tables.values())
    messages().print(
        f"{folder}: {n_rows} rows of {len(made.tables)} tables, {made.blobs} blobs (schema {made.revision})"
    )


def restore(folder: Annotated[Path, typer.Argument(show_default=False)]) -> None:
    """
    Make an empty record what a backup holds; the place is TDLENS_HOME, or TDLENS_DATABASE_URL.

    Every file is compared with its checksum. An older backup's schema is brought up to date.

    **Example**

    $ TDLENS_HOME=/tmp/rehearsal tdlens restore /safe/tdlens && TDLENS_HOME=/tmp/rehearsal tdlens fsck --full
    """
    from tdlens import backup
    from tdlens.settings import Settings

    settings = Settings.from_environment()
    with _bar("Copying blobs") as advance:
        made = backup.restore(settings, folder.absolute(), advance)
    n_rows = sum(made.tables.values())
    messages().print(f"{settings.database}: {n_rows} rows and {made.blobs} blobs of {made.made}")


@contextmanager
def _bar(description: str) -> Iterator[Callable[[int, int], None]]:
    with Progress(console=messages(), transient=True) as progress:
        bar = progress.add_task(description, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        yield advance
