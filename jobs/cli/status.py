"""``tdlens status``: which studies there are, how far each stage is, and who is at work."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from jobs.cli.console import messages, output, table

if TYPE_CHECKING:
    from tdlens.settings import Settings

STATES = {"done": "default", "leased": "cyan", "pending": "default", "lost": "yellow", "failed": "red"}
"""A unit's states and their colours."""
SILENT = 60
"""Seconds without a heartbeat, of which there are four in that time, after which a worker is shown as gone."""
FORGOTTEN = 3600
"""Seconds after which it isn't shown any more."""

SPAN = {
    "sqlite": "((julianday({to}) - julianday({since})) * 86400)",
    "postgresql": "extract(epoch FROM {to} - {since})",
}
"""Seconds between two moments; the present is the database's, as are all moments it holds."""
NOW = {"sqlite": "'now'", "postgresql": "clock_timestamp()"}

STAGES = """
SELECT study, stage, min(job) AS first, count(*) AS units,
    sum(CASE WHEN state = 'done' THEN 1 ELSE 0 END) AS done,
    sum(CASE WHEN state = 'leased' THEN 1 ELSE 0 END) AS leased,
    sum(CASE WHEN state = 'pending' THEN 1 ELSE 0 END) AS pending,
    sum(CASE WHEN state = 'lost' THEN 1 ELSE 0 END) AS lost,
    sum(CASE WHEN state = 'failed' THEN 1 ELSE 0 END) AS failed,
    max(COALESCE(finished, started)) AS last,
    avg(CASE WHEN state = 'done' THEN {took} END) AS seconds
FROM v_job GROUP BY study, stage ORDER BY first
"""
WORKERS = """
SELECT v_worker.*, {silent} AS silent, {running} AS running FROM v_worker
JOIN worker ON worker.id = v_worker.worker
LEFT JOIN job ON job.id = worker.job_id AND job.state = 'leased'
WHERE v_worker.state <> 'stopped' AND {silent} < :forgotten ORDER BY worker
"""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(status)


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again, until interrupted.")] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks of --watch.")] = 2.0,
) -> None:
    """
    List the studies in the record, how far each of their stages is, and the workers.

    A unit is **pending** until somebody claims it, **leased** while it is computed, then **done** or **failed**
    (**tdlens run** tries it again). **lost** means that its worker died or fell silent; another takes it up.
    What is left of a stage is estimated from its units so far and the workers that compute it now.

    A unit that runs for far too long may hang: its worker shows that it lives all the same. Stop that worker with
    SIGTERM (its host and process number are shown), and the unit goes back in line.
    """
    from tdlens.errors import Unreachable
    from tdlens.settings import Settings

    settings = Settings.from_environment()
    console = output()
    if not watch:
        console.print(Group(*_studies(settings), *_workers(settings)))
        return
    with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            # what doesn't fit on the terminal is cut at the bottom
            try:
                live.update(Group(*_workers(settings), *_studies(settings)), refresh=True)
            except Unreachable as error:  # perhaps it is being restarted
                live.update(Text(error.message, "yellow"), refresh=True)
            time.sleep(every)


def _studies(settings: Settings) -> list[RenderableType]:
    from tdlens.record.query import query
    from tdlens.rows import rows

    studies = query(settings, "SELECT study, revision, title, jobs FROM v_study ORDER BY study")
    stages = query(settings, STAGES.format(took=_span(settings, "started", "finished")))
    failed = query(settings, "SELECT study, stage, key, error FROM v_job WHERE state = 'failed' ORDER BY job")
    if studies.empty:
        messages().print("No study yet. Try: tdlens run studies/two_step_demo.toml")
    shown: list[RenderableType] = []
    for study in rows(studies):
        mine = stages[stages.study == study.study]
        last = mine["last"].dropna().max() if len(mine) else None
        active = f", last active {str(last)[:16]} UTC" if last == last and last is not None else ""
        head = Text.assemble((study.study, "bold"), f" revision {study.revision}{active}  ", (study.title, "dim"))
        shown.append(head)
        if mine.empty:
            shown.append(Text("  not planned yet: the first worker does it", "dim"))
        else:
            lines = [
                (
                    *(f"  {row.stage}", _bar(row.done / row.units)),
                    *(_count(getattr(row, state), style) for state, style in STATES.items()),
                    _left(row),
                )
                for row in rows(mine)
            ]
            shown.append(table(("  stage", "", *STATES, "left"), lines, numeric=(*STATES, "left")))
        for job in rows(failed[failed.study == study.study]):
            first = ((job.error or "").splitlines() or [""])[0]
            shown.append(Text(f"  {job.stage} {job.key} failed: {first}", "red"))
        shown.append(Text())
    return shown


def _workers(settings: Settings) -> list[RenderableType]:
    from tdlens.record.query import query
    from tdlens.rows import rows

    spans = {"silent": _span(settings, "worker.seen_at"), "running": _span(settings, "job.started_at")}
    workers = query(settings, WORKERS.format(**spans), {"forgotten": FORGOTTEN})
    if workers.empty:
        return []
    columns = ("worker", "on", "study", "state", "unit", "for", "", "published", "seen")
    return [table(columns, map(_worker, rows(workers)), numeric=("for", "published", "seen")), Text()]


def _worker(row: Any) -> tuple[Any, ...]:
    place, process, _ = row.owner.rsplit(":", 2)
    gone = row.silent > SILENT
    unit, bar, running = "", Text(), ""
    if isinstance(row.stage, str):
        unit = f"{row.stage} {row.key}"
        running = "" if row.running != row.running or gone else _clock(row.running)
        bar = Text() if row.progress is None or row.progress != row.progress else _bar(row.progress)
    state = Text("gone" if gone else row.state, "yellow" if gone else "default")
    host = f"{place.split('/')[0]}:{process}"
    return (row.worker, host, row.study, state, unit, running, bar, row.published, f"{max(0.0, row.silent):.0f} s ago")


def _span(settings: Settings, since: str, to: str | None = None) -> str:
    """SQL for the seconds between two columns, or since one."""
    dialect = "postgresql" if settings.sqlite_path is None else "sqlite"
    return SPAN[dialect].format(since=since, to=to or NOW[dialect])


def _left(row: Any) -> str:
    """About how long a stage will take that is being computed, once a unit of it is done."""
    if not row.leased or row.seconds != row.seconds or row.seconds is None:
        return ""
    return f"~{_clock((row.units - row.done - row.failed) * row.seconds / row.leased)}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _bar(share: float, width: int = 12) -> Text:
    full = round(share * width)
    return Text.assemble(("━" * full, "green"), ("━" * (width - full), "bright_black"), f" {share:4.0%}")


def _count(count: int, style: str) -> Text:
    return Text(str(count), style if count else "dim")
