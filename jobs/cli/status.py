"""``tdlens status``: which studies there are, how far each stage is, and who is at work."""

from __future__ import annotations

import time
from datetime import UTC, datetime
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
"""Seconds without a heartbeat after which a worker is shown as gone."""

STAGES = """
SELECT study, stage, min(job) AS first, count(*) AS units,
    sum(CASE WHEN state = 'done' THEN 1 ELSE 0 END) AS done,
    sum(CASE WHEN state = 'leased' THEN 1 ELSE 0 END) AS leased,
    sum(CASE WHEN state = 'pending' THEN 1 ELSE 0 END) AS pending,
    sum(CASE WHEN state = 'lost' THEN 1 ELSE 0 END) AS lost,
    sum(CASE WHEN state = 'failed' THEN 1 ELSE 0 END) AS failed,
    max(COALESCE(finished, started)) AS last
FROM v_job GROUP BY study, stage ORDER BY first
"""
WORKERS = """
SELECT worker, owner, study, state, stage, key, activity, progress, published, seen FROM v_worker
WHERE state <> 'stopped' ORDER BY worker
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
    """
    from tdlens.settings import Settings

    settings = Settings.from_environment()
    console = output()
    if not watch:
        console.print(_picture(settings))
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_picture(settings), refresh=True)
            time.sleep(every)


def _picture(settings: Settings) -> RenderableType:
    from tdlens.record.query import query
    from tdlens.rows import rows

    studies = query(settings, "SELECT study, revision, title, jobs FROM v_study ORDER BY study")
    stages = query(settings, STAGES)
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
                (f"  {row.stage}", _bar(row.done / row.units), *(_count(getattr(row, s), STATES[s]) for s in STATES))
                for row in rows(mine)
            ]
            shown.append(table(("  stage", "", *STATES), lines, numeric=tuple(STATES)))
        for job in rows(failed[failed.study == study.study]):
            first = ((job.error or "").splitlines() or [""])[0]
            shown.append(Text(f"  {job.stage} {job.key} failed: {first}", "red"))
        shown.append(Text())
    workers = query(settings, WORKERS)
    if not workers.empty:
        lines = [_worker(row) for row in rows(workers)]
        shown.append(table(("worker", "on", "study", "state", "unit", "", "published", "seen"), lines))
    return Group(*shown)


def _worker(row: Any) -> tuple[Any, ...]:
    seen = row.seen if row.seen.tzinfo else row.seen.tz_localize("UTC")
    ago = max(0.0, (datetime.now(UTC) - seen).total_seconds())
    state = Text("gone" if ago > SILENT else row.state, "yellow" if ago > SILENT else "default")
    share = row.progress == row.progress and row.progress is not None
    unit = f"{row.stage} {row.key}" if isinstance(row.stage, str) else ""
    bar = _bar(row.progress) if share else Text()
    return (row.worker, row.owner.split("/")[0], row.study, state, unit, bar, row.published, f"{ago:.0f} s ago")


def _bar(share: float, width: int = 12) -> Text:
    full = round(share * width)
    return Text.assemble(("━" * full, "green"), ("━" * (width - full), "bright_black"), f" {share:4.0%}")


def _count(count: int, style: str) -> Text:
    return Text(str(count), style if count else "dim")
