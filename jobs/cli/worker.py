"""``tdlens worker``: computes units of studies, beside others that do."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Annotated

import typer
from rich.text import Text

from jobs.cli.console import messages


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(worker)


def worker(
    studies: Annotated[list[str] | None, typer.Argument(metavar="[STUDY]...", show_default=False)] = None,
    job: Annotated[
        int | None, typer.Option("--job", metavar="ID", help="Compute the study of this submission (v_submission).")
    ] = None,
    lease: Annotated[
        float, typer.Option(min=1.0, help="Seconds without a heartbeat after which others may take a unit.")
    ] = 60.0,
    grace: Annotated[
        float, typer.Option(min=0.0, help="Seconds that a unit may still take when the worker is asked to stop.")
    ] = 20.0,
    retries: Annotated[
        int, typer.Option(min=0, help="Times that a unit whose process died is tried again before it counts as failed.")
    ] = 2,
) -> None:
    """
    Compute units of studies until nothing is left to do; start as many as you like, on any machine.

    A worker needs nothing but the record (TDLENS_DATABASE_URL) and its blobs. It claims one unit at a time,
    computes it and publishes its rows in one transaction. Names of studies, or a submission, say what to compute;
    without them it serves every study that needs something, and waits for more.

    SIGTERM, an interrupt, or a cluster's USR2 let it finish its unit within --grace seconds, or else put it back
    in line. If it is killed, its unit is taken up by another worker when the lease has run out. Two workers never
    publish the same unit.

    **Exit codes**: 0 all is done, or it was asked to stop; 1 units failed (**tdlens status** names them); 2 something
    that you can put right.

    **Examples**

    $ tdlens worker two_step_demo

    $ TDLENS_DATABASE_URL=postgresql+psycopg://me@db/tdlens tdlens worker
    """
    from jobs.worker.assignment import Assignment
    from jobs.worker.patience import patiently
    from jobs.worker.supervisor import Supervisor
    from tdlens.errors import UserError
    from tdlens.record import Record
    from tdlens.settings import Settings

    if studies and job is not None:
        raise UserError("A worker computes studies or a submission, not both.", "Leave one of them out.")
    console = messages()

    def say(line: str) -> None:
        with suppress(OSError):  # a log on a full disk takes nothing, and that ends no worker
            console.print(Text(f"{datetime.now():%H:%M:%S} {line}"), soft_wrap=True)

    settings = Settings.from_environment()
    record = patiently(lambda: Record.open(settings), say)
    try:
        assignment = Assignment(tuple(studies or ()), job, lease)
        code = Supervisor(record, assignment, grace=grace, retries=retries, say=say).run()
    finally:
        record.close()
    raise typer.Exit(code)
