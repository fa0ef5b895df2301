"""What ``tdlens status`` shows of workers and of what is left to do."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from jobs.cli import app
from jobs.cli.status import _clock
from jobs.stage import Unit
from tdlens.record import Job, Record, Worker, leases
from tests.faults.preloaded import ADDRESS, Preloaded, Process
from tests.workers.fake_process import DEADLINE
from tests.workers.workbench import bench, claim_of


def independent(record: Record) -> int:
    """A study of six units, none of them the parent of another."""
    return bench(record, [Unit("bench", f"block {index}", {}) for index in range(6)]).work.study_id


def at_work(record: Record, study_id: int, number: int, seconds: float = 0.0) -> None:
    """A worker that has claimed a unit, last seen some seconds ago."""
    owner = f"node{number}/0:{1000 + number}:1"
    held = claim_of(record, study_id, owner)
    about = {"state": "working", "study_id": study_id, "job_id": held.job_id, "progress": 0.25, "published": number}
    with record.session() as session:
        session.execute(update(Job).where(Job.id == held.job_id).values(started_at=leases.clock(-75.0)))
        session.add(Worker(owner=owner, **about))  # type: ignore[arg-type]
        session.flush()
        session.execute(update(Worker).where(Worker.owner == owner).values(seen_at=leases.clock(-seconds)))


def status(record: Record) -> list[str]:
    shown = CliRunner().invoke(app, ["status"], env=record.settings.environment)
    assert shown.exit_code == 0, shown.output
    return shown.stdout.splitlines()


def test_each_worker_with_its_place_unit_running_time_and_progress(record: Record) -> None:
    study_id = independent(record)
    at_work(record, study_id, 1)
    at_work(record, study_id, 2, seconds=30)
    first, second = (line for line in status(record) if "working" in line)
    assert first.split()[:5] == ["1", "node1:1001", "bench", "working", "bench"]
    assert re.search(r"block 0 +1:[1-5]\d +━+ +25% +1 +[1-2]?\d s ago", first), first
    assert re.search(r"block 1 +1:[1-5]\d +━+ +25% +2 +[3-5]\d s ago", second), second


def test_a_silent_worker_is_gone_and_then_forgotten(record: Record) -> None:
    study_id = independent(record)
    at_work(record, study_id, 1, seconds=90)
    at_work(record, study_id, 2, seconds=4000)
    (line,) = (line for line in status(record) if "node" in line)
    assert "node1:1001" in line and "gone" in line and "working" not in line


def test_what_is_left_of_a_stage_is_estimated(record: Record) -> None:
    """Two of six units took 40 s each; four are left, of which two are computed now."""
    study_id = independent(record)
    with record.session() as session:
        done = update(Job).where(Job.id <= 2).values(state="done", attempt=1)
        session.execute(done.values(started_at=leases.clock(-100.0), finished_at=leases.clock(-60.0)))
    assert not any("~" in line for line in status(record)), "nobody is at work"
    at_work(record, study_id, 1)
    at_work(record, study_id, 2)
    (line,) = (line for line in status(record) if line.startswith("  bench "))
    assert re.search(r"33% +2 +2 +2 +0 +0 +~1:20$", line), line


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")])
def test_spans(seconds: float, shown: str) -> None:
    assert _clock(seconds) == shown


@pytest.mark.parametrize("record", ["sqlite"], indirect=True)
def test_watching_on_a_terminal_shows_changes_until_interrupted(record: Record, preloaded: Preloaded) -> None:
    study_id = independent(record)
    at_work(record, study_id, 1)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "jobs.cli", "status", "--watch", "--every", "0.2"]
    environment = os.environ | record.settings.environment | {"TERM": "xterm", "COLUMNS": "150", "LINES": "40"}
    environment[ADDRESS] = preloaded.address
    watch = Process(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = ""

    def wait_for(text: str) -> None:
        nonlocal seen
        end = time.monotonic() + DEADLINE
        while text not in seen:
            assert time.monotonic() < end, seen
            if select.select([ours], [], [], 0.1)[0]:
                seen += os.read(ours, 65536).decode(errors="replace")

    try:
        wait_for("node1:1001")
        at_work(record, study_id, 2)
        wait_for("node2:1002")
        watch.send_signal(signal.SIGINT)
        assert watch.wait(timeout=DEADLINE) == 0
    finally:
        watch.kill()
        os.close(ours)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    assert plain.index("node1:1001") < plain.index("block 0"), "workers come first: a small terminal cuts the bottom"
    assert plain.index("node1:1001") < plain.index("revision 1") and "Traceback" not in plain
