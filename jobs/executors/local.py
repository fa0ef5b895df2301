"""Several workers on this machine: ``tdlens run --executor local --workers N``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from sqlalchemy import func, select

from jobs.cores import available_cores
from jobs.worker.patience import patiently
from tdlens.errors import DiskFull, UserError
from tdlens.record import Job, Record, StudyJob, Submission, leases

T = TypeVar("T")
POLL = 0.5
"""Seconds between two looks at the workers and the ledger."""
SAY = 2**16
"""Bytes that must be free for a worker to be sure that its log takes what it says."""
DEATHS = 3
"""Times that each worker may die with no unit done in between before the run gives up."""


@dataclass(eq=False)
class LocalWorkers:
    """The workers of one submission, started again when they die."""

    record: Record
    submission: Submission
    n: int
    options: tuple[str, ...] = ()
    """Further options of ``tdlens worker``."""
    _running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    _interrupts: int = 0

    @property
    def logs(self) -> Path:
        """What the workers say."""
        return self.record.settings.home / "logs" / f"submission-{self.submission.id}"

    def run(self, console: Console) -> tuple[int, int]:
        """Have the study computed.

        Returns:
            Units that were done meanwhile, and units that were before.

        Raises:
            UserError: units failed, a worker found something to be put right, or the workers keep dying.
            KeyboardInterrupt: the run was interrupted; the workers have ended.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        handlers = {number: signal.signal(number, self._interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        try:
            with Progress(*columns, console=console, transient=True) as progress:
                return self._watch(progress, console)
        finally:
            self._end(console)
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _watch(self, progress: Progress, console: Console) -> tuple[int, int]:
        for number in range(1, self.n + 1):
            self._start(number)
        bar = progress.add_task("planning", total=None)
        last, deaths, over = 0, 0, False
        while self._running:
            time.sleep(POLL)
            if self._interrupts:
                raise KeyboardInterrupt
            states = self._states(console)
            done, total = states.get("done", 0), sum(states.values())
            if total:
                at_work = states.get("leased", 0)
                progress.update(bar, completed=done, total=total, description=f"{at_work} of {self.n} workers compute")
            if done > last:
                last, deaths = done, 0
            for number, worker in list(self._running.items()):
                code = worker.poll()
                if code is None:
                    continue
                del self._running[number]
                if code == 2:
                    raise self._reason(number)
                over = over or not self._unsettled(console)
                if not over:
                    deaths += 1
                    console.print(Text(f"worker {number} ended ({code}) and is started again", "yellow"))
                    if deaths > DEATHS * self.n:
                        raise UserError(
                            f"The workers ended {deaths} times while no unit was done.",
                            f"See what they said in {self.logs}; with too little memory use fewer --workers.",
                        )
                    self._start(number)
        states = self._states(console)
        if states.get("failed"):
            raise UserError(
                f"{states['failed']} units failed.", "See why: tdlens status. Run the study again to try them again."
            )
        left = sum(states.values()) - states.get("done", 0)
        if left:
            raise UserError(
                f"The workers have ended, and {left} units are left.",
                f"See what they said in {self.logs}, and run the study again: it goes on where it was.",
            )
        fresh = self._published_since(console)
        return fresh, states.get("done", 0) - fresh

    def _start(self, number: int) -> None:
        command = [sys.executable, "-m", "jobs.cli", "worker", "--job", str(self.submission.id), *self.options]
        threads = max(1, available_cores() // self.n)
        environment = {"OMP_NUM_THREADS": str(threads)} | os.environ | self.record.settings.environment
        with self._log(number).open("ab") as log:
            self._running[number] = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _end(self, console: Console) -> None:
        """Ask the workers to stop, and wait until they have put their units back or published them."""
        asked = -1
        while any(worker.poll() is None for worker in self._running.values()):
            if asked < self._interrupts:
                asked = self._interrupts
                for worker in self._running.values():
                    worker.terminate()
                console.print("The workers finish their units or put them back. Another interrupt ends them at once.")
            time.sleep(POLL / 5)

    def _log(self, number: int) -> Path:
        return self.logs / f"worker-{number}.log"

    def _reason(self, number: int) -> UserError:
        """What a worker found that is to be put right."""
        log = self._log(number)
        with suppress(OSError, ValueError):
            text = log.read_text()
            return UserError(" ".join(text[text.rindex("Error: ") + 7 :].split()), f"All it said is in {log}.")
        free = shutil.disk_usage(self.logs).free
        if free < SAY:
            return DiskFull(
                f"The disk is full: {free} bytes are free in {self.logs}, too few for worker {number} to say more.",
                "Free some space there, or move TDLENS_HOME to a larger disk, and run the command again: "
                "it goes on where it was.",
            )
        return UserError(f"Worker {number} found something to be put right.", f"All it said is in {log}.")

    def _states(self, console: Console) -> dict[str, int]:
        query = (
            select(Job.state, func.count())
            .join(StudyJob, StudyJob.job_id == Job.id)
            .where(StudyJob.study_id == self.submission.study_id)
            .group_by(Job.state)
        )

        def read() -> dict[str, int]:
            with self.record.session(read_only=True) as session:
                return {state: n for state, n in session.execute(query)}

        return self._patiently(read, console)

    def _unsettled(self, console: Console) -> bool:
        """Whether there is something left to do: to be planned, computed, or waited for."""

        def read() -> bool:
            with self.record.session(read_only=True) as session:
                return leases.unsettled(session, self.submission.study_id)

        return not self._states(console) or self._patiently(read, console)

    def _published_since(self, console: Console) -> int:
        """Units that were done after the submission."""
        query = (
            select(func.count())
            .select_from(Job)
            .join(StudyJob, StudyJob.job_id == Job.id)
            .join(Submission, Submission.id == self.submission.id)
            .where(StudyJob.study_id == self.submission.study_id, Job.finished_at >= Submission.submitted_at)
        )

        def read() -> int:
            with self.record.session(read_only=True) as session:
                return session.scalars(query).one()

        return self._patiently(read, console)

    def _patiently(self, read: Callable[[], T], console: Console) -> T:
        return patiently(read, lambda line: console.print(Text(line, "yellow"), soft_wrap=True))

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
