"""Renewing a lease from a process that computes nothing.

A process deep in a long computation can't be relied on to show that it lives: it holds Python's lock, waits for a GPU,
or swaps. So a second one does it. For a worker that is its supervisor; for ``tdlens run`` a small process, started when
a unit takes longer than a moment and told through its standard input which unit is meant. When that input ends, the
computing process is gone, and the unit is declared lost at once.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from sqlalchemy.exc import SQLAlchemyError

from jobs.worker.patience import patiently
from tdlens.errors import UserError
from tdlens.record import Record, leases
from tdlens.record.leases import Claim
from tdlens.settings import Settings

BEATS = 4
"""Heartbeats in a lease: three may fail."""
DELAY = 2.0
"""Seconds that a unit must take before ``tdlens run`` starts a process for its heartbeat."""


def renew(record: Record, claim: Claim, lease: float) -> None:
    """One heartbeat; a database that is away, or has something against it, is asked again at the next."""
    with suppress(UserError, SQLAlchemyError), record.session() as session:
        leases.renew(session, claim, lease=lease)


@dataclass(eq=False)
class Sidecar:
    """The heartbeat of a process that computes units itself."""

    settings: Settings
    lease: float
    _process: subprocess.Popen[str] | None = None
    _claim: Claim | None = None
    _timer: threading.Timer | None = None

    def hold(self, claim: Claim) -> None:
        """Renew this unit's lease from now on."""
        self._claim = claim
        if self._process is not None:
            self._tell()
        else:
            self._timer = threading.Timer(min(DELAY, self.lease / BEATS), self._begin)
            self._timer.daemon = True
            self._timer.start()

    def let_go(self) -> None:
        """Renew nothing until the next unit."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
            self._timer = None
        self._claim = None
        self._tell()

    def close(self) -> None:
        """End the process."""
        self.let_go()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _begin(self) -> None:
        command = [sys.executable, "-m", "jobs.worker.heartbeat", str(self.lease)]
        environment = os.environ | self.settings.environment
        # a session of its own: an interrupt at the terminal is for the run, which then ends this one
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, env=environment, text=True, start_new_session=True
        )
        self._tell()

    def _tell(self) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(json.dumps(asdict(self._claim) if self._claim else None) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._process.wait()
            self._process = None  # the next unit starts another


@contextmanager
def sidecar(settings: Settings, lease: float) -> Iterator[Sidecar]:
    """A heartbeat that ends with the block."""
    made = Sidecar(settings, lease)
    try:
        yield made
    finally:
        made.close()


def main(lease: float) -> None:
    """Renew the lease of the unit that standard input named last, until that ends."""
    settings = Settings.from_environment()
    record = patiently(lambda: Record.open(settings), lambda line: None)  # the run says it
    selector = selectors.DefaultSelector()
    os.set_blocking(sys.stdin.fileno(), False)
    selector.register(sys.stdin, selectors.EVENT_READ)
    claim: Claim | None = None
    rest = ""
    while True:
        if selector.select(lease / BEATS):
            read = os.read(sys.stdin.fileno(), 65536).decode()
            if not read:
                break
            *lines, rest = (rest + read).split("\n")
            for line in lines:
                named = json.loads(line)
                claim = Claim(**named) if named else None
        if claim is not None:
            renew(record, claim, lease)
    if claim is not None:
        with suppress(UserError, SQLAlchemyError), record.session() as session:
            leases.lose(session, claim, "the process that computed it is gone")


if __name__ == "__main__":
    main(float(sys.argv[1]))
