"""Machines whose clocks are an hour wrong: leases, heartbeats, gc and status go by the database's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psutil
import pytest
from sqlalchemy import ColumnElement, select, update

from jobs.owner import dead, this_process
from jobs.stage import Unit
from tdlens import garbage
from tdlens.garbage import collect
from tdlens.record import Job, Record, Worker, leases
from tdlens.remote_blobs import RemoteBlobStore
from tests.workers.fake_process import DEADLINE, until
from tests.workers.halting import halt
from tests.workers.skewed_worker import SUPERSEDED
from tests.workers.workbench import bench, job, second

__all__ = ["second"]

HOUR = 3600.0
LEASE = 30.0
BEAT = 0.5
"""Seconds between two heartbeats: on a machine that is merely busy they come in time."""
SHORT = 2.0
"""Seconds of a lease that is to run out."""


def skewed(skew: float, *module: str) -> list[str]:
    return [sys.executable, "-m", "tests.workers.skewed", str(skew), *module]


def environment(record: Record) -> dict[str, str]:
    return os.environ | record.settings.environment


@contextmanager
def worker(record: Record, skew: float, lease: float, computed: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker for one unit of study 1 on a machine whose clock is wrong; it computes until a file is there."""
    command = skewed(skew, "tests.workers.skewed_worker", "1", str(lease), str(BEAT), str(computed))
    with subprocess.Popen(command, env=environment(record)) as process:
        try:
            yield process
        finally:
            process.kill()


def remaining(record: Record) -> list[float]:
    """Seconds by the database's clock that each lease still has."""
    query = select(Job.lease_until, leases.clock(0.0)).where(Job.state == "leased")
    with record.session(read_only=True) as session:
        return [(end - now).total_seconds() for end, now in session.execute(query)]


def test_the_clock_of_a_skewed_process_is_wrong(tmp_path: Path) -> None:
    code = "from datetime import UTC, datetime; import time; print(time.time(), datetime.now(UTC).timestamp())"
    (tmp_path / "clocks.py").write_text(code)
    path = os.environ | {"PYTHONPATH": str(tmp_path)}
    told = subprocess.run(skewed(-HOUR, "clocks"), env=path, capture_output=True, text=True, check=True)
    assert all(abs(float(seen) - time.time() + HOUR) < 60 for seen in told.stdout.split())


def test_leases_neither_run_out_early_nor_last_longer(record: Record, second: Record, tmp_path: Path) -> None:
    """Three workers, beside one another: each heartbeat gives every unit a whole lease by the database's clock."""
    bench(record, [Unit("bench", str(index), {}) for index in range(3)])
    computed = tmp_path / "computed"
    left: list[float] = []
    ends: set[tuple[int, datetime | None]] = set()

    def renewed() -> bool:
        left.extend(remaining(record))
        with second.session() as session:
            assert leases.reap(session) == 0, "a lease ran out while its worker lives"
            leased = select(Job.id, Job.lease_until).where(Job.state == "leased")
            ends.update((job_id, end) for job_id, end in session.execute(leased))
        times = Counter(job_id for job_id, _ in ends)
        return len(times) == 3 and min(times.values()) > 3

    about = (LEASE, computed)
    with worker(record, HOUR, *about) as ahead, worker(record, -HOUR, *about) as behind, worker(record, 0, *about):
        until(renewed, "heartbeats of three workers")()
        computed.touch()
        assert (ahead.wait(DEADLINE), behind.wait(DEADLINE)) == (0, 0)
        until(lambda: not remaining(record), "the third worker")()
    assert max(left) <= LEASE + 0.01 and min(left) > 0
    with record.session(read_only=True) as session:
        done = session.execute(select(Job.state, Job.attempt)).all()
        spans = session.execute(select(Job.started_at, Job.finished_at, leases.clock(0.0))).all()
    assert [tuple(row) for row in done] == [("done", 1)] * 3
    assert all(start < end <= now and (now - start).total_seconds() < 600 for start, end, now in spans)


@pytest.mark.parametrize(("record", "skew"), [("sqlite", HOUR), ("postgresql", -HOUR)], indirect=["record"])
def test_a_worker_that_falls_silent_loses_its_unit_when_the_lease_says(
    record: Record, skew: float, tmp_path: Path
) -> None:
    """With real processes: stopped, its unit given away, woken again, and refused."""
    here = bench(record)
    computed = tmp_path / "computed"
    with worker(record, skew, SHORT, computed) as late:
        until(lambda: job(record).state == "leased", "claim")()
        halt(late.send_signal, record)
        until(here.step, "its unit")()  # in much less than an hour
        assert late.poll() is None
        assert here.watch.outcomes == ["published"] and job(record).attempt == 2
        computed.touch()
        late.send_signal(signal.SIGCONT)
        assert late.wait(DEADLINE) == SUPERSEDED
    after = job(record)
    assert (after.state, after.attempt, after.owner) == ("done", 2, this_process())


def test_a_clock_that_is_set_makes_no_process_look_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux dates a process by the machine's start, which moves with its clock."""
    before = this_process()
    boot = psutil.boot_time()
    monkeypatch.setattr(f"{psutil._psplatform.__name__}.boot_time", lambda: boot + HOUR)
    assert this_process() == before and not dead(before)
    place, pid, start = before.rsplit(":", 2)
    assert dead(f"{place}:{pid}:{int(start) - 1}"), "a later process with the same number is another"


@pytest.mark.parametrize("skew", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_gc_dates_files_by_the_clock_of_their_store(
    record: Record, monkeypatch: pytest.MonkeyPatch, skew: float
) -> None:
    young, old = (record.blobs.put_bytes(name, "bin") for name in (b"young", b"old"))
    record.blobs.path(old.sha256, "bin").touch()
    os.utime(record.blobs.path(old.sha256, "bin"), (time.time() - HOUR,) * 2)
    there = time.time
    monkeypatch.setattr(time, "time", lambda: there() + skew)
    found = collect(record, grace=HOUR / 2)
    assert [file.sha256 for file in found.files] == [old.sha256] and found.kept == 1
    assert record.blobs.size(young.sha256, "bin") == 5


@pytest.mark.parametrize("skew", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_gc_spares_what_a_unit_may_be_about_to_name_whatever_the_databases_clock_says(
    record: Record, monkeypatch: pytest.MonkeyPatch, skew: float
) -> None:
    """The database's machine is an hour off: so are all its moments, and a unit's age isn't."""
    bench(record)

    def clock(seconds: float) -> ColumnElement[object]:
        return leases.clock(seconds + skew)

    with record.session() as session:
        about = {"state": "leased", "attempt": 1, "owner": "elsewhere/0:1:1"}
        session.execute(update(Job).values(**about, started_at=clock(-60.0), lease_until=clock(60.0)))
    monkeypatch.setattr(garbage, "clock", clock)
    for name, age in ((b"of the unit", 30.0), (b"left before", 120.0)):
        blob = record.blobs.put_bytes(name, "bin")
        os.utime(record.blobs.path(blob.sha256, "bin"), (time.time() - age,) * 2)
    found = collect(record, grace=0)
    assert [file.bytes for file in found.files] == [len(b"left before")] and found.kept == 1


@pytest.mark.parametrize("url", ["memory://clock", "file://{}/store"])
def test_the_clock_of_a_store_elsewhere(tmp_path: Path, url: str) -> None:
    store = RemoteBlobStore(tmp_path / "copies", url.format(tmp_path))
    blob = store.put_bytes(b"abc", "bin")
    now = store.clock()
    (file,) = store.stored()
    assert file.sha256 == blob.sha256 and 0 <= now - file.modified < 60


@pytest.mark.parametrize(("record", "skew"), [("sqlite", HOUR), ("postgresql", -HOUR)], indirect=["record"])
def test_status_tells_spans_by_the_databases_clock(record: Record, skew: float) -> None:
    here = bench(record)
    with record.session() as session:
        held = leases.claim(session, here.work.study_id, "somewhere/0:1:1", provenance={})
        assert held is not None
        session.execute(update(Job).values(started_at=leases.clock(-90.0)))
        worker = Worker(owner="somewhere/0:1:1", state="working", job_id=held.job_id, study_id=here.work.study_id)
        session.add(worker)
    told = subprocess.run(skewed(skew, "jobs.cli", "status"), env=environment(record), capture_output=True, text=True)
    (line,) = (line for line in told.stdout.splitlines() if "somewhere:1" in line)
    _, _, _, state, _, _, running, published, silent, _, ago = line.split()
    assert (state, published, ago) == ("working", "0", "ago") and int(silent) < 60
    minutes, rest = map(int, running.split(":"))
    assert 90 <= 60 * minutes + rest < 150
