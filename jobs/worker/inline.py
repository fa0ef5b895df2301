"""Running a study in this process: what ``tdlens run`` does unless it is told to use workers."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from jobs.context import Context
from jobs.executors.submission import record_study
from jobs.owner import lose_dead
from jobs.pipeline import Work, plan_study
from jobs.stage import Unit
from jobs.study import Study
from jobs.worker.heartbeat import Sidecar, sidecar
from jobs.worker.loop import Idle, drain
from jobs.worker.patience import STORE_PATIENCE, patiently
from tdlens.errors import UserError
from tdlens.record import Record, leases
from tdlens.record.leases import Claim

COLUMNS = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


@dataclass(frozen=True)
class Outcome:
    """What a run did."""

    study_id: int
    computed: int
    found: int
    """Units that were in the record already, or that other workers computed meanwhile."""


def run_study(study: Study, record: Record, console: Console, *, lease: float = leases.LEASE) -> Outcome:
    """Bring the record to hold everything that the study asks for.

    Other workers may compute units of the same study meanwhile.

    Args:
        study: the validated configuration; it becomes the current revision of its name.
        record: where to.
        console: for the progress bars and one line a stage.
        lease: seconds after which others may take a unit that this process gives no sign of.

    Raises:
        UserError: a mistake in the study or its model, a full disk, units that failed in other workers.
    """
    with (
        Progress(*COLUMNS, console=console, transient=True) as progress,
        sidecar(record.settings, lease) as heartbeat,
        ExitStack() as stack,
    ):
        record = record.patient(STORE_PATIENCE, lambda line: console.print(Text(line, "yellow"), soft_wrap=True))
        context = Context(study, record, progress, lambda line: console.print(Text(line), soft_wrap=True))
        stack.callback(context.close)
        plan = plan_study(context)  # first: what can't be planned must not become the current revision
        study_id = record_study(record, study)
        work = Work(context, plan, study_id)
        watch = _Watch(work, console, heartbeat)
        watch.begin(progress)
        try:
            drain(work, watch, _rest, lease=lease, stop_on_error=True)
        except BaseException:
            # An interrupt may come between the claim and the moment from which the loop gives the unit back by itself.
            with suppress(UserError), record.session() as session:
                lose_dead(session, idle=True)
            raise
        watch.announce()
        failed = sum(stage.failed for stage in patiently(work.progress, watch.note).values())
        if failed:
            raise UserError(
                f"{failed} units of {study.name} failed in other workers.",
                "See why: tdlens status. Run the study again to try them again.",
            )
        computed = sum(watch.computed.values())
        return Outcome(study_id, computed, len(work.plan.units) - computed)


def _rest(seconds: float) -> bool:
    time.sleep(seconds)
    return False  # an interrupt is an exception here


@dataclass(eq=False)
class _Watch:
    """Renews leases, moves the overall bar, and says when a stage is done."""

    work: Work
    console: Console
    heartbeat: Sidecar
    computed: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _announced: set[str] = field(default_factory=set)
    _now: tuple[str, float] = ("", 0.0)

    def begin(self, progress: Progress) -> None:
        self._progress = progress
        self._bar = progress.add_task(self.work.context.study.name, total=len(self.work.plan.units))
        self.announce()

    def claimed(self, claim: Claim, unit: Unit) -> None:
        self.heartbeat.hold(claim)
        self._now = (unit.stage, time.monotonic())
        self._progress.update(self._bar, description=self.work.context.study.name)

    def let_go(self, outcome: str, error: BaseException | None = None) -> None:
        self.heartbeat.let_go()
        stage, began = self._now
        self.seconds[stage] += time.monotonic() - began
        if outcome == "published":
            self.computed[stage] += 1
            self.announce()
        elif isinstance(error, UserError) and outcome in ("superseded", "released"):
            self.note(f"{stage}: {error}")

    def idle(self, state: Idle, study_id: int | None = None) -> None:
        self._progress.update(self._bar, description=f"{self.work.context.study.name}, waiting for other workers")
        self.announce()

    def note(self, text: str) -> None:
        self.console.print(Text(text, "yellow"), soft_wrap=True)

    def announce(self) -> None:
        """Say once of each stage that it is done, in the stages' order."""
        progress = patiently(self.work.progress, self.note)
        self._progress.update(self._bar, completed=sum(stage.done for stage in progress.values()))
        for name, stage in progress.items():
            if stage.done < stage.total:
                return
            if name not in self._announced:
                self._announced.add(name)
                fresh = self.computed[name]
                state = f"{fresh} computed in {self.seconds[name]:.0f} s" if fresh else "already in the record"
                about = self.work.stage(self.work.plan.of(name)[0]).DESCRIPTION
                self.console.print(f"[green]✓[/] [bold]{name:<10}[/] {about} [dim]({stage.total} units, {state})[/]")
