"""A worker's computing process, and how it speaks with its supervisor.

Its standard output carries one JSON object a line; whatever libraries print goes to standard error. A line ``stop`` on
its standard input asks it to claim nothing more, and the input's end means that the supervisor is gone: it exits at
once, as nobody renews its leases any more. All this holds before the heavy libraries are imported, which takes seconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from jobs.cli.console import say_error
from jobs.cores import use_available_cores
from jobs.worker.assignment import Assignment
from jobs.worker.patience import STORE_PATIENCE, patiently
from tdlens.errors import UserError
from tdlens.record import Record
from tdlens.record.leases import Claim
from tdlens.settings import Settings

if TYPE_CHECKING:
    from jobs.stage import Unit
    from jobs.worker.loop import Idle

ORPHANED, CRASHED = 70, 71
"""Exit codes of a process whose supervisor is gone, and of one that met what nobody had foreseen."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGHUP)
"""Ignored here: schedulers and terminals send them to a whole group, and the supervisor decides."""


@dataclass(eq=False)
class Channel:
    """Messages to the supervisor: a watch of units, and a progress bar of the current one."""

    descriptor: int
    _total: float = 0.0
    _done: float = 0.0
    _activity: str = ""
    _last: float = 0.0

    def send(self, event: str, **about: Any) -> None:
        """Write one message."""
        try:
            os.write(self.descriptor, (json.dumps({"event": event} | about) + "\n").encode())
        except BrokenPipeError:
            os._exit(ORPHANED)

    def claimed(self, claim: Claim, unit: Unit) -> None:
        self.send("claimed", claim=asdict(claim), stage=unit.stage, key=unit.key)

    def let_go(self, outcome: str, error: BaseException | None = None) -> None:
        self.send("let_go", outcome=outcome, error=None if error is None else str(error) or type(error).__name__)

    def idle(self, state: Idle, study_id: int | None = None) -> None:
        self.send("idle", state=state, study_id=study_id)

    def note(self, text: str) -> None:
        self.send("note", text=text)

    def add_task(self, description: str, *, total: float) -> str:
        self._activity, self._total, self._done = description, total, 0.0
        self._progress()
        return description

    def advance(self, task_id: str, advance: float) -> None:
        self._done += advance
        if time.monotonic() - self._last > 0.5:
            self._progress()

    def remove_task(self, task_id: str) -> None:
        self._activity = ""
        self._progress()

    def _progress(self) -> None:
        self._last = time.monotonic()
        share = self._done / self._total if self._total else None
        self.send("progress", activity=self._activity or None, share=share if self._activity else None)


def obey(stop: threading.Event) -> None:
    """Follow the supervisor's word until it falls silent."""
    for line in sys.stdin:
        if line.strip() == "stop":
            stop.set()
    os._exit(ORPHANED)


def main(assignment: Assignment, channel: Channel) -> int:
    """Serve the assignment; the exit code: 0, 1 if units failed, 2 for something the user can put right."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    stop = threading.Event()
    threading.Thread(target=obey, args=(stop,), daemon=True).start()
    use_available_cores()
    from jobs.worker.serve import Server

    try:
        record = patiently(lambda: Record.open(Settings.from_environment()), channel.note)
        record = record.patient(STORE_PATIENCE, channel.note)
        try:
            with closing(Server(record, assignment, channel, channel)) as server:
                return server.run(lambda seconds: stop.wait(seconds))
        finally:
            record.close()
    except UserError as error:
        say_error(error)
        return 2
    except Exception:
        traceback.print_exc()
        return CRASHED


def own_output() -> Channel:
    """Standard output for messages alone: prints go to standard error from now on."""
    channel = Channel(os.dup(1))
    os.dup2(2, 1)
    return channel


if __name__ == "__main__":
    spoken = own_output()
    given = json.loads(sys.argv[1])
    sys.exit(main(Assignment(**given | {"studies": tuple(given["studies"])}), spoken))
