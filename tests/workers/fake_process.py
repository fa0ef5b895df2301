"""Computing processes that do what a test tells them: they speak as the real one does, and start at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from jobs.worker.assignment import Assignment
from jobs.worker.supervisor import Supervisor
from tdlens.record import Record, leases
from tdlens.record.leases import Claim

PROVENANCE = {"git_commit": "0" * 40, "git_dirty": False, "versions": {}, "device": "cpu"}
DEADLINE = 180.0
"""Seconds within which anything here happens on a machine that is merely busy."""
SOURCE = """
import json, os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
def wait_for_test():
    signal.sigwait([signal.SIGUSR1])
def send(event, **about):
    os.write(1, (json.dumps({"event": event} | about) + chr(10)).encode())
def let_go(outcome, error=None):
    send("let_go", outcome=outcome, error=error)
def wait_for_stop():
    assert sys.stdin.readline() == "stop" + chr(10)
def die(number=signal.SIGKILL):
    os.kill(os.getpid(), number)
claim = json.loads(sys.argv[1])
if claim is not None:
    send("claimed", claim=claim, stage="bench", key="0")
"""


@dataclass(eq=False)
class Acts:
    """Starts computing processes, one act each; the last act is repeated. Each has a unit, unless none is left."""

    record: Record
    study_id: int
    acts: tuple[str, ...]
    """Python after `SOURCE`."""
    lease: float = leases.LEASE
    before: Callable[[], object] = lambda: None
    """What happens before each claim."""
    claims: list[Claim | None] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __call__(self, assignment: Assignment) -> subprocess.Popen[bytes]:
        number = len(self.processes)
        self.before()
        act = self.acts[min(number, len(self.acts) - 1)]
        with self.record.session() as session:
            claim = leases.claim(session, self.study_id, f"fake/0:{number}:1", lease=self.lease, provenance=PROVENANCE)
        self.claims.append(claim)
        command = [sys.executable, "-I", "-S", "-c", SOURCE + act, json.dumps(asdict(claim) if claim else None)]
        self.processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return self.processes[-1]

    def publish(self) -> None:
        """What the process of the current claim would do."""
        claim = self.claims[-1]
        assert claim is not None
        with self.record.session() as session:
            leases.publish(session, claim)


@dataclass(eq=False)
class Said:
    """A supervisor with such processes, and what it told people."""

    acts: Acts
    grace: float = 20.0
    retries: int = 2
    lines: list[str] = field(default_factory=list)

    def run(self, *doings: Callable[[], object]) -> int:
        """Run it here; each of `doings` is done beside it, one after the other. Its exit code."""
        assignment = Assignment(submission=None, lease=self.acts.lease)
        supervisor = Supervisor(
            self.acts.record, assignment, self.grace, self.retries, say=self.lines.append, start=self.acts
        )
        failures: list[BaseException] = []

        def beside() -> None:
            try:
                for doing in doings:
                    doing()
            except BaseException as error:
                failures.append(error)
                supervisor._stop_at = time.monotonic()
                for process in self.acts.processes:
                    process.kill()

        thread = threading.Thread(target=beside)
        thread.start()
        code = supervisor.run()
        thread.join()
        if failures:
            raise failures[0]
        return code

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def until(condition: Callable[[], object], what: str = "") -> Callable[[], None]:
    """Something to do: wait until the condition holds."""

    def wait() -> None:
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, f"waited in vain: {what or condition}"
            time.sleep(0.02)

    return wait


def signalled(number: signal.Signals) -> Callable[[], None]:
    """Something to do: send this process, whose supervisor it is, a signal."""

    def send() -> None:
        assert signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler), "the supervisor has ended"
        os.kill(os.getpid(), number)

    return send
