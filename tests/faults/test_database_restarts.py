"""The database goes away in the middle of a study on two workers, and comes back: nothing is lost."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tdlens.record.migrate import upgrade
from tdlens.settings import Settings
from tests.faults.places import Place, Rows, database, storm
from tests.faults.preloaded import Preloaded, Process
from tests.faults.storm_study import SQLITE_WAIT, UNITS
from tests.postgres_server import Server, postgres_server

PLAYS = 12
ALL = UNITS * PLAYS
PATIENCE = 300.0
"""Seconds within which anything here happens on a machine that is merely busy."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="tdlens-postgres-") as folder, postgres_server(Path(folder)) as started:
        yield started


def wait_for(place: Place, done: int, process: Process, output: Path) -> None:
    """Until so many units are done."""
    deadline = time.monotonic() + PATIENCE
    while place.query("SELECT count(*) AS n FROM job WHERE state = 'done'").n.item() < done:
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.05)


def said(place: Place, word: str) -> int:
    """How often the workers have said it."""
    return sum(log.read_text().count(word) for log in (place.settings.home / "logs").rglob("*.log"))


def wait_for_word(place: Place, word: str, *, after: int = 0) -> None:
    """Until the workers have said it more often than that."""
    deadline = time.monotonic() + PATIENCE
    while said(place, word) <= after:
        assert time.monotonic() < deadline, f"nobody said: {word}"
        time.sleep(0.05)


def check(place: Place, rows: Rows) -> None:
    jobs = place.query("SELECT state FROM job")
    assert len(jobs) == ALL and set(jobs.state) == {"done"}
    assert place.rows() == rows
    assert place.damage() == []


@pytest.mark.slow
def test_the_server_is_restarted_and_crashes(
    server: Server, preloaded: Preloaded, tmp_path: Path, storm_rows: Callable[[int], Rows]
) -> None:
    server.administer("CREATE DATABASE restarts")
    settings = Settings(tmp_path / "home", server.address("restarts"))
    upgrade(settings)
    place = storm(preloaded, tmp_path, settings, plays=PLAYS, seconds=0.2)
    process, output = place.start_run(2)
    for done, mode in ((2, "immediate"), (8, "fast"), (16, "immediate"), (24, "fast")):
        wait_for(place, done, process, output)
        server.control("restart", "-m", mode)
    assert process.wait(PATIENCE) == 0, output.read_text()
    assert f"{ALL} units computed" in output.read_text()
    check(place, storm_rows(PLAYS))


@pytest.mark.slow
def test_the_server_is_down_while_workers_start(
    server: Server, preloaded: Preloaded, tmp_path: Path, storm_rows: Callable[[int], Rows]
) -> None:
    """Whatever is started again meanwhile waits too: supervisors and computing processes."""
    server.administer("CREATE DATABASE down")
    settings = Settings(tmp_path / "home", server.address("down"))
    upgrade(settings)
    place = storm(preloaded, tmp_path, settings, plays=PLAYS, seconds=0.2)
    process, output = place.start_run(2)
    wait_for(place, 4, process, output)
    server.control("stop", "-m", "immediate")
    try:
        alive = preloaded.alive(settings.home)
        workers = [pid for pid, command in alive.items() if command[:2] == ["jobs.cli", "worker"]]
        computing = [pid for pid, command in alive.items() if command[0] == "jobs.worker.child"]
        assert len(workers) == len(computing) == 2
        assert preloaded.kill(workers[0]) and preloaded.kill(computing[0]) and preloaded.kill(computing[1])
        wait_for_word(place, "can't be reached")
        time.sleep(1.0)  # for those started again to find it closed
    finally:
        server.control("start")
    assert process.wait(PATIENCE) == 0, output.read_text()
    check(place, storm_rows(PLAYS))


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("BEGIN EXCLUSIVE")
connection.execute("UPDATE study SET title = 'never committed'")
connection.execute("CREATE TABLE large (x)")
connection.executemany("INSERT INTO large VALUES (?)", [(b"x" * 4000,)] * 1000)
print("held", flush=True)
sys.stdin.readline()
"""
"""Holds SQLite's write lock in a transaction that is larger than its cache, so that the WAL has some of it; until told
to let go."""


def hold(settings: Settings) -> subprocess.Popen[bytes]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(settings.sqlite_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    return holder


@pytest.mark.slow
def test_sqlite_is_locked_for_longer_than_anybody_waits(
    preloaded: Preloaded, tmp_path: Path, storm_rows: Callable[[int], Rows]
) -> None:
    with database("sqlite", tmp_path / "home") as settings:
        place = storm(preloaded, tmp_path, settings, plays=PLAYS, seconds=0.1).set(**{SQLITE_WAIT: "0.5"})
        process, output = place.start_run(2)
        locked = "has been locked by another process for 0.5 s. Waiting for it."
        for done in (4, 16):
            wait_for(place, done, process, output)
            holder = hold(settings)
            wait_for_word(place, locked, after=said(place, locked))
            holder.communicate(b"\n")
            assert holder.returncode == 0
        assert process.wait(PATIENCE) == 0, output.read_text()
        check(place, storm_rows(PLAYS))


def test_a_killed_writer_leaves_a_wal_that_is_recovered(
    preloaded: Preloaded, tmp_path: Path, storm_rows: Callable[[int], Rows]
) -> None:
    with database("sqlite", tmp_path / "home") as settings:
        place = storm(preloaded, tmp_path, settings, plays=PLAYS, seconds=0.05)
        process, output = place.start_run(2)
        wait_for(place, 6, process, output)
        holder = hold(settings)
        preloaded.kill_all(settings.home)
        preloaded.rest(settings.home)
        holder.kill()
        holder.communicate()
        wal = settings.home / "tdlens.db-wal"
        assert wal.stat().st_size > 1_000_000
        done = place.run()
        assert done.returncode == 0, done.said
        assert place.query("SELECT title FROM study").title.tolist() == ["Many short units"]
        assert "large" not in set(place.query("SELECT name FROM sqlite_master").name)
        check(place, storm_rows(PLAYS))
