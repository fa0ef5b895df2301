"""``--executor local`` over workers that do as they are told: deaths, failures, stopped workers, interrupts."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from rich.console import Console
from sqlalchemy import update

from jobs.executors import local
from jobs.executors.local import LocalWorkers
from tdlens.errors import UserError
from tdlens.record import Job, Record, Submission
from tests.workers.fake_process import until
from tests.workers.workbench import bench, chain

pytestmark = pytest.mark.parametrize("record", ["sqlite"], indirect=True)
SLEEPS = """
import signal, sys, time
def asked(*_):
    print("asked", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, asked)
print("ready", flush=True)
time.sleep(600)
"""
STUBBORN = SLEEPS.replace("    sys.exit(0)", "    asked.times += 1\n    asked.times < 2 or sys.exit(0)").replace(
    "signal.signal(", "asked.times = 0\nsignal.signal(", 1
)
Act = Callable[[], str]


@dataclass(eq=False)
class Fake(LocalWorkers):
    """Starts Python that a test gives instead of ``tdlens worker``; each start takes the worker's next act."""

    acts: dict[int, list[Act]] = field(default_factory=dict)
    started: list[int] = field(default_factory=list)

    def _start(self, number: int) -> None:
        acts = self.acts[number]
        source = acts.pop(0)() if len(acts) > 1 else acts[0]()
        with self._log(number).open("ab") as log:
            self._running[number] = subprocess.Popen([sys.executable, "-I", "-S", "-c", source], stdout=log, stderr=log)
        self.started.append(number)


def finish(record: Record, state: str = "done", n: int = 99) -> None:
    """What workers do to the study's first n units."""
    with record.session() as session:
        moment = local.func.current_timestamp()
        session.execute(update(Job).where(Job.id <= n).values(state=state, finished_at=moment, attempt=1))


@pytest.fixture
def make(record: Record, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Fake, io.StringIO]]:
    """The executor over a study of three units, and what it says; one list of acts a worker."""
    monkeypatch.setattr(local, "POLL", 0.05)

    def made(*acts: list[Act]) -> tuple[Fake, io.StringIO]:
        study_id = bench(record, chain(3)).work.study_id
        submission = Submission(study_id=study_id, executor="local", settings={})
        with record.session() as session:
            session.add(submission)
        return Fake(record, submission, len(acts), acts=dict(enumerate(acts, 1))), io.StringIO()

    return made


def run(made: tuple[Fake, io.StringIO]) -> tuple[int, int]:
    return made[0].run(Console(file=made[1], width=200))


def ends(code: int, before: Callable[[], object] = lambda: None) -> Act:
    def act() -> str:
        before()
        return f"import os; os._exit({code})" if code >= 0 else f"import os; os.kill(os.getpid(), {-code})"

    return act


def test_workers_that_end_when_all_is_done(record: Record, make: Callable[..., tuple[Fake, io.StringIO]]) -> None:
    made = make([ends(0, lambda: finish(record))], [ends(0)])
    assert run(made) == (3, 0)
    assert made[0].started == [1, 2]
    assert sorted(path.name for path in made[0].logs.iterdir()) == ["worker-1.log", "worker-2.log"]
    assert made[0].logs.parent.parent == record.settings.home


def test_a_dead_worker_is_started_again(record: Record, make: Callable[..., tuple[Fake, io.StringIO]]) -> None:
    made = make([ends(-9), ends(-9), ends(0, lambda: finish(record))])
    assert run(made) == (3, 0)
    assert made[0].started == [1, 1, 1] and made[1].getvalue().count("ended (-9) and is started again") == 2


def test_workers_that_always_die_are_given_up(make: Callable[..., tuple[Fake, io.StringIO]]) -> None:
    made = make([ends(-9)], [ends(-11)])
    with pytest.raises(UserError, match="ended 7 times while no unit was done"):
        run(made)
    assert len(made[0].started) in (8, 9)


def test_failed_units_are_an_error(record: Record, make: Callable[..., tuple[Fake, io.StringIO]]) -> None:
    made = make([ends(1, lambda: finish(record, "failed", 1))], [ends(1)])
    with pytest.raises(UserError, match="1 units failed"):
        run(made)


@pytest.mark.parametrize("code", [0, 1])
def test_workers_that_end_with_units_left_are_started_again_and_no_success(
    record: Record, make: Callable[..., tuple[Fake, io.StringIO]], code: int
) -> None:
    """Each was stopped by hand, or gave up as its process died too often."""
    made = make([ends(code, lambda: finish(record, n=1))], [ends(code)])
    with pytest.raises(UserError, match="ended 7 times while no unit was done"):
        run(made)
    assert len(made[0].started) > 6
    made = make([ends(code, lambda: finish(record, n=1)), ends(0, lambda: finish(record))])
    assert run(made) == (3, 0)


def test_what_a_worker_finds_to_be_put_right_ends_the_run(make: Callable[..., tuple[Fake, io.StringIO]]) -> None:
    said = "import sys; print('Error: The disk is full.'); print('  Fix: Make room.'); sys.exit(2)"
    made = make([lambda: said], [lambda: SLEEPS])
    with pytest.raises(UserError, match=r"The disk is full\. Fix: Make room\.") as caught:
        run(made)
    assert "worker-1.log" in caught.value.remedy
    assert all(worker.poll() is not None for worker in made[0]._running.values()), "the other one was left running"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_the_workers_and_a_second_one_is_passed_on(
    make: Callable[..., tuple[Fake, io.StringIO]], number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    made = make([lambda: STUBBORN], [lambda: SLEEPS])
    log = made[0].logs / "worker-1.log"

    def interrupt() -> None:
        for wanted in ("ready", "asked"):
            until(lambda wanted=wanted: log.exists() and wanted in log.read_text(), wanted)()
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(made)
    thread.join()
    assert log.read_text().split() == ["ready", "asked", "asked"]
    assert "Another interrupt ends them at once." in made[1].getvalue()
    assert signal.getsignal(number) == before
