"""``tdlens fsck`` and ``tdlens gc``: are the blobs as recorded, and what can go."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from jobs.cli.console import messages, output, table


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(fsck)
    app.command()(gc)


def fsck(
    full: Annotated[bool, typer.Option("--full", help="Also read every blob: compare checksums and shapes.")] = False,
) -> None:
    """
    Compare the blobs with the record: rows without a file, wrong sizes, files without a row; with --full also
    contents and shapes. Changes nothing.

    Exit code 1 if something is damaged. A file without a row is no damage: a killed run leaves it, and
    **tdlens gc** deletes it.

    **Examples**

    $ tdlens fsck

    $ tdlens fsck --full && tdlens backup /safe/place
    """
    from tdlens.fsck import check_blobs, makers
    from tdlens.record import Record
    from tdlens.settings import Settings

    record = Record.open(Settings.from_environment())
    try:
        totals = record.query("SELECT COALESCE(sum(bytes), 0) AS size, count(*) AS n FROM blob").iloc[0]
        size, n = int(totals["size"]), int(totals["n"])
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=messages(), transient=True) as progress:
            bar = progress.add_task("Reading" if full else "Comparing", total=size)
            found = list(check_blobs(record, full=full, advance=lambda bytes: progress.advance(bar, bytes)))
        made_by = makers(record)
    finally:
        record.close()
    damaged = [finding for finding in found if finding.damage]
    if found:
        lines = [
            (Text(one.kind, "red" if one.damage else "yellow"), one.text, made_by.get(one.sha256, "")) for one in found
        ]
        output().print(table(("finding", "blob", "made by"), lines))
    compared = "sizes, contents and shapes" if full else "sizes; --full compares contents and shapes"
    orphans = len(found) - len(damaged)
    messages().print(f"{n} blobs of {size / 1e6:.1f} MB ({compared}): {len(damaged)} damaged, {orphans} without a row")
    if orphans:
        messages().print("Files without a row are harmless: tdlens gc deletes them.")
    if damaged:
        messages().print(
            "Restore the damaged ones from a backup, or run tdlens doctor --repair, which forgets what was computed "
            "from them, and then their study, which computes it again."
        )
        raise typer.Exit(1)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    grace: Annotated[float, typer.Option(min=0.0, metavar="HOURS", help="Spare what is younger than this.")] = 24.0,
    old_revisions: Annotated[
        bool,
        typer.Option("--old-revisions", help="Also forget what no study's current revision asks for."),
    ] = False,
) -> None:
    """
    Delete blobs that nothing in the record names, and unfinished files. Runs may go on meanwhile.

    A unit in progress writes its files before its rows: whatever is younger than the oldest of them is spared too.
    Local copies of remote blobs (TDLENS_BLOBS) go after the same time.

    Results of earlier revisions stay, so that going back to them costs nothing, until --old-revisions.

    **Examples**

    $ tdlens gc --dry-run

    $ tdlens gc --grace 0

    $ tdlens gc --old-revisions --dry-run
    """
    from tdlens.garbage import collect
    from tdlens.record import Record
    from tdlens.settings import Settings

    record = Record.open(Settings.from_environment())
    try:
        with messages().status("Looking"):
            found = collect(record, grace=grace * 3600, old_revisions=old_revisions, dry_run=dry_run)
        lines: list[tuple[str, str, object]] = [("unit", job, "") for job in found.jobs]
        lines += [("file", record.blobs.address(file.sha256, file.suffix), file.bytes) for file in found.files]
    finally:
        record.close()
    lines += [("unfinished", str(path), "") for path in found.unfinished]
    lines += [("copy", str(path), "") for path in found.copies]
    if lines:
        output().print(table(("kind", "what", "bytes"), lines, numeric=("bytes",)))
    done = "would be freed" if dry_run else "freed"
    units = f"{len(found.jobs)} units, " if old_revisions else ""
    messages().print(
        f"{units}{len(lines) - len(found.jobs)} files and {len(found.rows)} rows of blobs,"
        f" {found.bytes / 1e6:.1f} MB {done};"
        f" {found.kept} files without a row spared: too young, or a unit in progress may name them"
    )
