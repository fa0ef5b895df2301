"""A worker's supervising process: starts the computing one, shows that it lives, and takes it down in time.

It imports no torch and computes nothing, so its heartbeat doesn't stop when the other process is busy. When that dies,
its unit is declared lost at once and another process is started, unless it dies of the same unit again and again.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import delete, or_, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from jobs.owner import this_process
from jobs.worker.assignment import Assignment
from jobs.worker.heartbeat import BEATS, renew
from jobs.worker.patience import patiently
from tdlens.errors import UserError
from tdlens.record import Record, Worker, leases
from tdlens.record.leases import Claim, clock

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
"""Ask a worker to stop: docker and Slurm send the first, a terminal the second, Slurm's time limit the third."""
FORGET = 7 * 24 * 3600.0
"""Seconds after which a worker that is gone is taken off the list."""
CRASHES = 5
"""Times that the computing process may die in a row with nothing published before the worker gives up."""
SIGN = 15.0
"""Seconds between two signs of life at most, however long the lease is: people look at them."""
NEWS = 1.0
"""Seconds between two words to the record about what a worker does; units may be shorter."""
AGAIN = 2.0
"""Seconds within which a second signal is the same one, sent to the whole group and by its leader."""


def start_process(assignment: Assignment) -> subprocess.Popen[bytes]:
    """The computing process of an assignment."""
    command = [sys.executable, "-m", "jobs.worker.child", json.dumps(asdict(assignment))]
    # blocked in the new process too: an interrupt of the whole group must not end it before it can ignore that
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@dataclass(eq=False)
class Supervisor:
    """One worker."""

    record: Record
    assignment: Assignment
    grace: float
    """Seconds that a unit may still take after the worker was asked to stop."""
    retries: int
    """Times that a unit whose process died is tried again here before it counts as failed."""
    say: Callable[[str], None]
    """Takes a line for people."""
    start: Callable[[Assignment], subprocess.Popen[bytes]] = start_process
    _claim: Claim | None = None
    _unit: str = ""
    _since: float = 0.0
    _crashes: int = 0
    _died_of: Counter[int] = field(default_factory=Counter)
    _stop_at: float | None = None
    _told: str = ""
    _about: dict[str, Any] = field(default_factory=lambda: {"state": "starting"})
    _news: bool = False
    _wrote: float = 0.0
    _published: int = 0

    def run(self) -> int:
        """Work until the assignment is done or a signal comes; the exit code.

        Returns:
            0 done or stopped; 1 units failed, or the computing process keeps dying; 2 something to be put right.
        """
        patiently(self._register, self.say)  # a signal may end this at once: it holds nothing yet
        with _signals() as woken:
            try:
                while True:
                    code = self._supervise(woken)
                    if self._stop_at is not None:
                        return 2 if code == 2 else 0
                    if code in (0, 1, 2):
                        return code
                    self._crashes += 1
                    if self._crashes >= CRASHES:
                        self.say(f"The computing process died {CRASHES} times with nothing published: giving up.")
                        return 1
            finally:
                self._describe(state="stopped", job_id=None, activity=None, progress=None)
                self._beat()

    def _supervise(self, woken: socket.socket) -> int:
        """One computing process from its start to its end; its exit code."""
        process = self.start(self.assignment)
        assert process.stdin is not None and process.stdout is not None
        rest, told, killed = b"", False, False
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while True:
                if time.monotonic() >= self._next_beat():
                    self._beat()
                if self._stop_at is not None and not told:
                    told = True
                    self._describe(state="stopping")
                    _tell(process, b"stop\n")
                if self._stop_at is not None and not killed and time.monotonic() >= self._stop_at:
                    killed = True
                    process.kill()
                wait = self._next_beat() if self._stop_at is None or killed else min(self._next_beat(), self._stop_at)
                ready = [key.fileobj for key, _ in selector.select(max(0.0, wait - time.monotonic()))]
                if woken in ready:
                    for number in woken.recv(64):
                        self._signalled(number)
                if process.stdout in ready:
                    read = os.read(process.stdout.fileno(), 65536)
                    if not read:
                        break
                    *lines, rest = (rest + read).split(b"\n")
                    for line in lines:
                        self._hear(json.loads(line))
                elif process.poll() is not None and not select.select([process.stdout], [], [], 0)[0]:
                    break  # all that it said was heard, but something that it started holds its output open
        process.stdin.close()
        code = process.wait()
        process.stdout.close()
        self._bury(code)
        return code

    def _signalled(self, number: int) -> None:
        if number not in SIGNALS:
            return
        now = time.monotonic()
        if self._stop_at is None:
            self._stop_at = now + self.grace
            unit = f"; {self._unit} may take {self.grace:.0f} s more" if self._claim else ""
            self.say(f"{signal.Signals(number).name}: no new units{unit}.")
        elif now - (self._stop_at - self.grace) > AGAIN:
            self._stop_at = now

    def _hear(self, message: dict[str, Any]) -> None:
        match message["event"]:
            case "claimed":
                self._claim = Claim(**message["claim"])
                self._unit, self._since, self._told = f"{message['stage']} {message['key']}", time.monotonic(), ""
                self._describe(state="working" if self._stop_at is None else "stopping", job_id=self._claim.job_id)
            case "let_go":
                took = time.monotonic() - self._since
                why = "" if message["error"] is None else f": {message['error'].splitlines()[0]}"
                self.say(f"{self._unit} {message['outcome']} after {took:.1f} s{why}")
                if message["outcome"] == "published":
                    self._crashes = 0
                    self._published += 1
                self._claim = None
                self._describe(job_id=None, activity=None, progress=None)
            case "progress":
                self._describe(activity=message["activity"], progress=message["share"])
            case "note":
                if message["text"] != self._told:
                    self._told = message["text"]
                    self.say(message["text"])
            case "idle":
                state = message["state"] if self._stop_at is None else "stopping"
                self._describe(state=state, study_id=message["study_id"], job_id=None)

    def _bury(self, code: int) -> None:
        """After the computing process: what it held is anybody's, unless it died of it too often."""
        held, self._claim = self._claim, None
        how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        if held is None:
            if code not in (0, 1, 2) and self._stop_at is None:
                self.say(f"The computing process died with {how} and is started again.")
            return
        if self._stop_at is not None:
            self.say(f"{self._unit} goes back in line.")
            self._in_record(lambda session: leases.release(session, held))
            return
        self._died_of[held.job_id] += 1
        why = f"the process that computed it died with {how}"
        if code == -signal.SIGKILL:
            why += "; out of memory?"
        self.say(f"{self._unit}: {why}")
        if self._died_of[held.job_id] > self.retries:
            tried = f"{why}, {self._died_of[held.job_id]} times"
            self._in_record(lambda session: leases.fail(session, held, tried))
        else:
            self._in_record(lambda session: leases.lose(session, held, why))

    def _describe(self, **changes: Any) -> None:
        self._news = self._news or (self._about | changes != self._about)
        self._about |= changes

    def _next_beat(self) -> float:
        interval = min(SIGN, self.assignment.lease / BEATS)
        return self._wrote + (min(NEWS, interval) if self._news else interval)

    def _beat(self) -> None:
        """Renew the lease, and tell the record how this worker is."""
        self._news, self._wrote = False, time.monotonic()
        if self._claim is not None:
            renew(self.record, self._claim, self.assignment.lease)
        mine = update(Worker).where(Worker.owner == this_process())
        self._in_record(
            lambda session: session.execute(
                mine.values(**self._about, published=self._published, seen_at=clock(0.0)),
                execution_options={"synchronize_session": False},
            )
        )

    def _register(self) -> None:
        """Enter the list of workers; harmless to repeat.

        Raises:
            UserError: the assignment names nothing that is there.
        """
        with self.record.session() as session:
            studies = self.assignment.resolve(session)
            mine = this_process()
            session.execute(delete(Worker).where(or_(Worker.seen_at < clock(-FORGET), Worker.owner == mine)))
            session.add(
                Worker(
                    owner=mine,
                    submission_id=self.assignment.submission,
                    study_id=studies[0] if studies and len(studies) == 1 else None,
                    state="starting",
                )
            )

    def _in_record(self, action: Callable[[Session], object]) -> None:
        """A word to the record that may be lost, whatever the database has against it: leases run out by themselves."""
        try:
            with self.record.session() as session:
                action(session)
        except (UserError, SQLAlchemyError) as error:
            why = str(error).splitlines()[0]
            if why != self._told:
                self._told = why
                self.say(why)


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that gives the number of each signal, one a byte, instead of what it would do; also of a child's end."""
    waker, woken = socket.socketpair()
    waker.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in (*SIGNALS, signal.SIGCHLD)}
    descriptor = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    try:
        yield woken
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        waker.close()
        woken.close()


def _tell(process: subprocess.Popen[bytes], word: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(word)
        process.stdin.flush()
    except BrokenPipeError:
        return  # it has ended already: its output says so next
