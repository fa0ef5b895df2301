"""Real workers on a real study, and everything that can happen to them: one study survives all of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select

from jobs.executors.submission import record_study
from jobs.study import load
from tdlens.fsck import check_blobs
from tdlens.record import Job, Record, Worker, leases
from tdlens.settings import Settings
from tests.databases import require_postgres, temporary_database
from tests.faults.preloaded import Preloaded
from tests.faults.preloaded import Process as Started
from tests.tiny_study import NAME, Workplace, dump, finished, workplace
from tests.workers.fake_process import DEADLINE, until
from tests.workers.halting import halt

LEASE = 4.0


@dataclass(eq=False)
class Process:
    """A started ``tdlens worker``."""

    process: Started
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text()

    def ended(self) -> int:
        return self.process.wait(timeout=4 * DEADLINE)


@dataclass(eq=False)
class Place:
    """The study's workplace with a database on the server."""

    preloaded: Preloaded
    work: Workplace
    record: Record
    database: str
    started: list[Process] = field(default_factory=list)

    def worker(self, *arguments: str) -> Process:
        log = self.work.home / f"worker-{len(self.started)}.log"
        command = ("jobs.cli", "worker", "--lease", str(LEASE), *arguments)
        environment = self.work.environment | {"TDLENS_DATABASE_URL": self.database}
        self.started.append(Process(self.preloaded.start(*command, environment=environment, output=log), log))
        return self.started[-1]

    def jobs(self) -> list[Job]:
        with self.record.session(read_only=True) as session:
            return list(session.scalars(select(Job).order_by(Job.id)))

    def job(self, job_id: int) -> Job:
        with self.record.session(read_only=True) as session:
            return session.get_one(Job, job_id)

    def done(self) -> bool:
        jobs = self.jobs()
        return bool(jobs) and all(job.state == "done" for job in jobs)

    def caught(self) -> Job:
        """A unit whose computing process was stopped in the midst of it."""
        end = time.monotonic() + 4 * DEADLINE
        while time.monotonic() < end:
            for job in self.jobs():
                if job.state == "leased" and psutil.pid_exists(computing(job)):
                    halt(partial(os.kill, computing(job)), self.record)
                    now = self.job(job.id)
                    if (now.state, now.attempt) == ("leased", job.attempt):
                        return now
                    os.kill(computing(job), signal.SIGCONT)
            time.sleep(0.005)
        raise AssertionError("no unit was caught")

    def supervised(self) -> Job:
        """A caught unit whose lease is renewed meanwhile.

        A process that is stopped between its claim and the word of it to its supervisor has a unit that nobody renews:
        it is let go on, and caught again.
        """
        for _ in range(5):
            unit, end = self.caught(), time.monotonic() + 4 * LEASE
            assert unit.lease_until is not None
            while time.monotonic() < end:
                if self.job(unit.id).lease_until > unit.lease_until + timedelta(seconds=LEASE):
                    return unit
                time.sleep(0.02)
            os.kill(computing(unit), signal.SIGCONT)
        raise AssertionError("no lease was renewed while its unit stood still")


def computing(job: Job) -> int:
    """The number of the process that computes a unit."""
    return int(str(job.owner).split(":")[1])


@pytest.fixture(scope="module")
def place(preloaded: Preloaded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    require_postgres()
    home = tmp_path_factory.mktemp("workers") / "home"
    home.mkdir()
    work = workplace(tmp_path_factory.getbasetemp(), home)
    with temporary_database() as address:
        record = Record.open(Settings(home, address))
        made = Place(preloaded, work, record, address)
        try:
            yield made
        finally:
            for job in made.jobs():
                if job.state == "leased" and psutil.pid_exists(computing(job)):
                    os.kill(computing(job), signal.SIGKILL)  # it may be stopped, and would stay so
            for one in made.started:
                one.process.kill()
                one.process.wait()
            record.close()


@pytest.mark.slow
def test_a_study_survives_its_workers(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    first = place.worker()  # before there is anything to do
    with_state(place, "waiting")
    record_study(place.record, load(place.work.study))

    unit = place.supervised()
    assert place.job(unit.id).state == "leased", "its supervisor lives"
    os.kill(computing(unit), signal.SIGKILL)
    until(lambda: place.job(unit.id).state == "done", "the second attempt")()
    assert place.job(unit.id).attempt == unit.attempt + 1
    assert f"{unit.stage} {unit.key}: the process that computed it died with signal 9" in first.said

    unit = place.caught()
    os.kill(computing(unit), signal.SIGCONT)
    first.process.kill()
    until(lambda: not psutil.pid_exists(computing(unit)), "the end of the orphan")()
    first.ended()

    late = place.worker()
    unit = place.caught()
    halt(late.process.send_signal, place.record)
    helper = place.worker(NAME)
    assert helper.ended() == 0 and place.done()
    after = place.job(unit.id)
    assert after.attempt > unit.attempt and after.owner != unit.owner
    os.kill(computing(unit), signal.SIGCONT)
    late.process.send_signal(signal.SIGCONT)
    until(lambda: f"{unit.stage} {unit.key} superseded" in late.said, "the refusal")()
    now = place.job(unit.id)
    assert (now.state, now.attempt, now.owner) == ("done", after.attempt, after.owner)

    late.process.terminate()
    assert late.ended() == 0 and "SIGTERM: no new units" in late.said
    with_state(place, "stopped")
    record = finished(tmp_path_factory.getbasetemp()).record()
    assert dump(place.record) == dump(record)
    record.close()
    assert [found.text for found in check_blobs(place.record, full=True) if found.damage] == []
    with place.record.session() as session:
        assert leases.reap(session) == 0


def with_state(place: Place, state: str) -> None:
    """Wait until the worker that was started last is in a state."""

    def there() -> bool:
        pid = place.started[-1].process.pid if state != "stopped" else place.started[-2].process.pid
        with place.record.session(read_only=True) as session:
            found = {worker.owner.split(":")[1]: worker.state for worker in session.scalars(select(Worker))}
        return found.get(str(pid)) == state

    until(there, state)()


@pytest.mark.slow
def test_an_interrupted_local_run_leaves_nothing_leased(place: Place) -> None:
    """Ctrl-C at a terminal goes to the command and to all its workers."""
    home = place.work.home.parent / "interrupted"
    work = Workplace(place.work.folder, place.work.study, home)
    home.mkdir()
    command = (
        "jobs.cli",
        "run",
        str(work.study),
        "--executor",
        "local",
        "--workers",
        "2",
        "--no-report",
        "--no-mlflow",
    )
    output = home / "run.log"
    process = place.preloaded.start(*command, environment=work.environment, output=output, own_group=True)
    record: Record | None = None

    def some_done() -> bool:
        nonlocal record
        if record is None and (home / "tdlens.db").exists():
            record = work.record()
        return record is not None and int(record.query("SELECT count(*) AS n FROM job WHERE state='done'").n.item()) > 2

    until(some_done, "units")()
    assert record is not None
    with record.session() as session:  # so that no unit is published meanwhile
        assert session.scalar(select(func.count()).where(Job.state != "done")), "all was done before the interrupt"
        os.killpg(process.pid, signal.SIGINT)
    code, said = process.wait(timeout=2 * DEADLINE), output.read_text()
    assert code == 130, said
    assert "Traceback" not in said
    assert set(record.query("SELECT state FROM job").state) <= {"done", "pending"}
    assert set(record.query("SELECT state FROM v_worker").state) == {"stopped"}
    logs = [path.read_text() for path in (home / "logs").rglob("worker-*.log")]
    assert len(logs) == 2 and not any("Traceback" in log for log in logs)
    record.close()
