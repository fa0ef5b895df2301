"""``tdlens doctor``: is everything in order, and if not, what to do."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from jobs.cli.console import messages, output, table

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(doctor)


def doctor(
    full: Annotated[
        bool, typer.Option("--full", help="Also read every blob and compare it with its checksum.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="First delete leavings, and forget what was computed from damaged blobs, so that a run "
            "computes it again. Reads every blob.",
        ),
    ] = False,
) -> None:
    """
    Check the installation and the record, and say what to do about each finding.

    Only --repair changes anything.

    Exit code 1 if a check failed; warnings are things that cost space or time, not results.
    """
    from jobs.cli.checks import check_installation
    from jobs.cli.checks_record import check_record
    from tdlens.settings import Settings

    settings = Settings.from_environment()
    if repair:
        from jobs.cli.repair import repair_record

        for line in repair_record(settings):
            messages().print(Text(line), soft_wrap=True)
    with messages().status("Checking"):
        found = [*check_installation(settings), *check_record(settings, full=full)]
    rows = [(Text(check.state, STYLES[check.state]), check.name, check.finding) for check in found]
    console = output()
    console.print(table(("", "check", "finding"), rows))
    for check in found:
        if check.details or check.remedy:
            console.print()
            console.print(Text(f"{check.name}: ", STYLES[check.state]).append(check.remedy, "default"))
        for line in check.details:
            console.print(Text(f"  {line}"), soft_wrap=True)
    if any(check.state == "fail" for check in found):
        raise typer.Exit(1)
