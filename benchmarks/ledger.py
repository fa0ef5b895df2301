"""Units a second that the ledger hands out and takes back, from several processes.

    PYTHONPATH=. python benchmarks/ledger.py [--units 4000] [--workers 4] [--rounds 3]

Each worker claims a unit, marks it done in a transaction that inserts one row, and claims the next, exactly as
`tdlens worker` does, but computes nothing. Every unit must be done exactly once. On SQLite, and on PostgreSQL: a
database of its own on the server that TDLENS_TEST_POSTGRES names, with the server's own settings, so that each
publication waits for the disk. Beside it, in turns, the same number of transactions of the same durability that change
one row each: what the database alone takes. Limits: 500 units/s on SQLite, 300 on PostgreSQL.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tdlens.record import Artifact, Blob, Job, Record, current_study, leases
from tdlens.settings import Settings
from tests.databases import sqlite_settings, temporary_database

LIMITS = {"sqlite": 500, "postgresql": 300}
STAGES = 4


def plan(n: int) -> list[leases.Planned]:
    """Units of several stages; each reads two of the stage before."""
    per_stage = n // STAGES
    units: list[leases.Planned] = []
    for number in range(n):
        stage = number // per_stage
        before = [f"{(stage - 1) * per_stage + (number + shift) % per_stage}" for shift in (0, 1)]
        parents = tuple(before) if stage else ()
        units.append(leases.Planned(str(number), f"stage {stage}", f"unit {number}", {"n": number}, 0, parents))
    return units


def work(settings: Settings, study_id: int, start: Any, counts: Any) -> None:
    """Compute units until none is left; put their number into `counts`."""
    record = Record.open(settings)
    owner = f"worker {multiprocessing.current_process().pid}"
    done = 0
    start.wait()
    while True:
        with record.session() as session:
            claim = leases.claim(session, study_id, owner, provenance={"device": "cpu"})
        if claim is None:
            with record.session(read_only=True) as session:
                if not leases.unsettled(session, study_id):
                    break
            continue
        with record.session() as session:
            leases.publish(session, claim)
            session.add(Artifact(job_id=claim.job_id, name="result", blob="b"))
        done += 1
    counts.put(done)
    record.close()


def bare(settings: Settings, turns: int, start: Any, counts: Any) -> None:
    """Two transactions a turn that change one row each: the least that claiming and publishing could take."""
    record = Record.open(settings)
    key = multiprocessing.current_process().pid
    with record.session() as session:
        session.add(Blob(sha256=str(key), suffix="bin", bytes=0))
    start.wait()
    for _ in range(2 * turns):
        with record.session() as session:
            session.execute(text("UPDATE blob SET bytes = bytes + 1 WHERE sha256 = :key"), {"key": str(key)})
    counts.put(turns)
    record.close()


def timed(target: Callable[..., None], settings: Settings, argument: int, workers: int) -> tuple[float, int]:
    """Seconds from the common start to the last worker's end, and units done."""
    context = multiprocessing.get_context("spawn")
    start, counts = context.Barrier(workers + 1), context.Queue()
    processes = [context.Process(target=target, args=(settings, argument, start, counts)) for _ in range(workers)]
    for process in processes:
        process.start()
    start.wait()
    began = time.perf_counter()
    done = sum(counts.get() for _ in processes)
    took = time.perf_counter() - began
    for process in processes:
        process.join()
    return took, done


def measure(settings: Settings, units: int, workers: int, rounds: int) -> bool:
    record = Record.open(settings)
    dialect = record.engine.dialect.name
    ours, least = [], []
    for round_ in range(rounds):
        with record.session() as session:
            session.execute(text("DELETE FROM artifact"))
            session.execute(text("DELETE FROM job_parent"))
            session.execute(text("DELETE FROM job"))
            session.execute(text("DELETE FROM blob"))
            session.add(Blob(sha256="b", suffix="bin", bytes=1))
            study_id = current_study(session, name="ledger", title="", config={"round": round_}).id
            leases.enqueue(session, study_id, plan(units))
        took, done = timed(work, settings, study_id, workers)
        with record.session(read_only=True) as session:
            states = session.query(Job.state, Job.attempt).distinct().all()
        if done != units or states != [("done", 1)]:
            sys.exit(f"{dialect}: {done} of {units} units were done, {states}")
        ours.append(units / took)
        took, turns = timed(bare, settings, units // workers, workers)
        least.append(turns / took)
    record.close()
    rate, bound = statistics.median(ours), statistics.median(least)
    print(
        f"{dialect:10} {rate:6.0f} units/s (limit {LIMITS[dialect]}; rounds {min(ours):.0f} to {max(ours):.0f}), "
        f"{rate / bound:.2f} of the {bound:.0f}/s of bare transactions; {workers} workers, each unit done once"
    )
    return rate >= LIMITS[dialect]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    for name, default in (("units", 4000), ("workers", 4), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fine = measure(sqlite_settings(Path(folder)), given.units, given.workers, given.rounds)
    with tempfile.TemporaryDirectory() as folder, temporary_database(durable=True) as address:
        fine &= measure(Settings(Path(folder), address), given.units, given.workers, given.rounds)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
