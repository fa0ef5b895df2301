"""``tdlens report``, ``ui`` and ``sync-mlflow``: what is made from the record for people to look at."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.console import messages, output

if TYPE_CHECKING:
    from tdlens.record import Record


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(report)
    app.command()(ui)
    app.command("sync-mlflow")(sync_mlflow)


def report(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="Name of a study in the record, or of a paper: td-in-llms, dqn-saes, mechrl, welfare-axis.",
        ),
    ],
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """
    Write the study's report again: one HTML page and its figures, from the record's views.

    **td-in-llms**, **dqn-saes**, **mechrl** and **welfare-axis** are whole papers: the page that **tdlens reproduce**
    writes of each, from those of its studies that are in the record.

    **Examples**

    $ tdlens report two_step_demo --open

    $ tdlens report td-in-llms
    """
    from tdlens.record import Record
    from tdlens.settings import Settings

    record = Record.open(Settings.from_environment())
    try:
        from jobs.report import write_report
        from jobs.report.reproductions import REPRODUCTIONS

        if study in REPRODUCTIONS:
            page = REPRODUCTIONS[study].write(record, record.settings.reports / study)
        else:
            name = _studies(record, study)[0]
            page = write_report(record, name, record.settings.reports / name)
    finally:
        record.close()
    output().print(str(page))
    if show:
        webbrowser.open(page.as_uri())


def sync_mlflow(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="Default: all studies.", show_default=False)
    ] = None,
) -> None:
    """
    Write the record's studies to MLflow, as every run does at its end.

    What is there already isn't written again. MLflow holds a copy only: if its files are lost or damaged,
    delete mlflow.db and mlartifacts in TDLENS_HOME and run this.
    """
    from tdlens.record import Record
    from tdlens.settings import Settings
    from tdlens.tracking import project, tracking_uri

    settings = Settings.from_environment()
    record = Record.open(settings)
    try:
        for name in _studies(record, study):
            written = project(record, name)
            messages().print(f"{name}: {written} runs written to {tracking_uri(settings)}", soft_wrap=True)
    finally:
        record.close()


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """
    Browse the studies in MLflow's web pages, on this machine only. Ctrl-C ends it.

    With MLFLOW_TRACKING_URI set to a server, that server's own pages have them instead. TDLENS_MLFLOW_PAGES says where
    a browser finds those, if elsewhere.
    """
    from tdlens.errors import UserError
    from tdlens.settings import Settings
    from tdlens.tracking import tracking_uri

    settings = Settings.from_environment()
    if tracking_uri(settings) != settings.mlflow_uri:
        pages = os.environ.get("TDLENS_MLFLOW_PAGES") or tracking_uri(settings)
        output().print(f"MLFLOW_TRACKING_URI is set: browse {pages}")
        return
    if not (settings.home / "mlflow.db").exists():
        raise UserError(
            f"There are no MLflow files in {settings.home}.",
            "Run a study, or write the record's studies there: tdlens sync-mlflow",
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(
                f"Port {port} can't be used: {error.strerror}.", f"Give another: tdlens ui --port {port + 1}"
            ) from None
    output().print(f"MLflow: http://127.0.0.1:{port}  (Ctrl-C ends it)")
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", settings.mlflow_uri, "--workers", "1"),
        *("--default-artifact-root", settings.mlartifacts.as_uri()),
    ]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    code = subprocess.run(command, env={**os.environ, **quiet}, check=False).returncode
    if code:
        raise typer.Exit(1)


def _studies(record: Record, name: str | None) -> list[str]:
    """The named study, or all."""
    from tdlens.errors import UserError

    known = list(record.query("SELECT study FROM v_study ORDER BY study").study)
    if name is None:
        return known
    if name not in known:
        raise UserError(
            f"There is no study {name!r} in the record.",
            f"Studies: {', '.join(known)}." if known else "Run one: tdlens run studies/two_step_demo.toml",
        )
    return [name]
