"""``tdlens status``: which studies there are and how far each stage is."""

from __future__ import annotations

import typer
from rich.markup import escape
from rich.text import Text

from jobs.cli.console import messages, output, table


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(status)


def status() -> None:
    """
    List the studies in the record and how far each of their stages is.

    A stage's units appear when a run first reaches them. **running** may also be what a killed run
    left: the same command takes it up again, and **tdlens doctor** tells the two apart.
    """
    from tdlens.record.query import query
    from tdlens.rows import rows
    from tdlens.settings import Settings

    settings = Settings.from_environment()
    studies = query(settings, "SELECT study, revision, title FROM v_study ORDER BY study")
    stages = query(
        settings,
        "SELECT study, stage, sum(CASE WHEN state = 'done' THEN 1 ELSE 0 END) AS done,"
        " sum(CASE WHEN state = 'failed' THEN 1 ELSE 0 END) AS failed,"
        " sum(CASE WHEN state = 'running' THEN 1 ELSE 0 END) AS running,"
        " min(job) AS first FROM v_job GROUP BY study, stage ORDER BY first",
    )
    jobs = query(settings, "SELECT study, stage, state, key, started, finished, error FROM v_job")
    console = output()
    if studies.empty:
        messages().print("No study yet. Try: tdlens run studies/two_step_demo.toml")
    for study in rows(studies):
        mine = jobs[jobs.study == study.study]
        last = max((moment for moment in [*mine.started, *mine.finished.dropna()]), default=None)
        active = f", last active {last:%Y-%m-%d %H:%M} UTC" if last is not None else ""
        console.print(f"[bold]{study.study}[/] revision {study.revision}{active}  [dim]{escape(study.title)}[/]")
        counts = [
            (f"  {row.stage}", row.done, _warn(row.failed, "red"), _warn(row.running, "yellow"))
            for row in rows(stages[stages.study == study.study])
        ]
        columns = ("  stage", "done", "failed", "running")
        console.print(table(columns, counts, numeric=columns[1:]))
        for job in rows(mine[mine.state == "failed"]):
            console.print(Text(f"  {job.stage} {job.key} failed: {(job.error or '').splitlines()[0]}", "red"))
        console.print()


def _warn(count: int, style: str) -> Text:
    return Text(str(count), style if count else "dim")
