"""Several at once: migrators, planners, workers, publishers and the collector of garbage."""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import func, select

from tdlens.blobs import BlobStore
from tdlens.errors import BlobVanished
from tdlens.garbage import collect
from tdlens.record import Artifact, JobParent, Record, leases, record_artifact, record_blob
from tdlens.record.leases import Claim, Superseded
from tdlens.record.migrate import check, drift
from tdlens.settings import Settings
from tdlens.testing.backend import Backend
from tdlens.testing.rows import make_job
from tdlens.testing.units import claim, claimed, insert, let_expire, mark, plan, publish, published, states, unit


def at_once(*actions: Callable[[], object]) -> None:
    """Runs them in threads that begin together; raises what one of them raised."""
    barrier = threading.Barrier(len(actions))
    errors: list[BaseException] = []

    def run(action: Callable[[], object]) -> None:
        try:
            barrier.wait(60)
            action()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


READY = """
import sys, time
from tdlens.record import Record, Signal, current_study, find_or_create, leases, record_artifact
from tdlens.record.migrate import upgrade
from tdlens.settings import Settings
settings = Settings.from_environment()
print("ready", flush=True)
sys.stdin.readline()
"""
"""How each of several processes begins; they import little, as they may be many."""

FIND = """
with Record.open(settings).session() as session:
    current_study(session, name="demo", title="", config={})
    about = {"agent": "q", "parameters": {}, "description": ""}
    found = find_or_create(session, Signal, {"name": "td_error", "parameters_hash": "h"}, **about)
    time.sleep(0.1)
    print(found.id)
"""

WORK = """
owner, study_id = sys.argv[1], int(sys.argv[2])
record = Record.open(settings)
while True:
    with record.session() as session:
        held = leases.claim(session, study_id, owner, provenance={"device": "cpu"})
    if held is None:
        break
    blob = record.blobs.put_bytes(b"result", "bin")
    with record.session() as session:
        leases.publish(session, held)
        record_artifact(session, held.job_id, f"{owner}/{held.attempt}/", blob)
    print(held.identity)
"""


def in_processes(settings: Settings, script: str, *arguments: tuple[str, ...]) -> list[list[str]]:
    """What each of several processes prints that begin the script together, one for each tuple of arguments."""
    environment = os.environ | settings.environment | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    processes = [
        subprocess.Popen([sys.executable, "-c", READY + script, *own], **pipes)  # type: ignore[call-overload]
        for own in arguments
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return said


class Unhurried(BlobStore):
    """Takes its time to delete a file, and so gives others time to come between."""

    def delete(self, sha256: str, suffix: str) -> None:
        time.sleep(0.03)
        super().delete(sha256, suffix)


class ConcurrencyTests(Backend):
    """Whoever comes first, the end is the same."""

    def test_migrators_at_once(self, settings: Settings) -> None:
        in_processes(settings, "upgrade(settings)", (), ())
        check(settings)
        assert drift(settings) == []

    def test_shared_rows_are_made_once(self, record: Record) -> None:
        one, other = in_processes(record.settings, FIND, (), ())
        assert one == other and len(one) == 1
        assert record.query("SELECT revision FROM v_study").revision.tolist() == [1]

    def test_processes_never_get_the_same_unit(self, record: Record) -> None:
        units = [unit(f"{number:03}") for number in range(60)]
        study_id = plan(record, *units)
        owners = ("one", "two")
        said = in_processes(record.settings, WORK, *((owner, str(study_id)) for owner in owners))
        won = {identity: owner for owner, own in zip(owners, said, strict=True) for identity in own}
        assert sorted(said[0] + said[1]) == [one.identity for one in units]
        assert {identity: published(record, identity) for identity in won} == {
            identity: [f"{owner}/1"] for identity, owner in won.items()
        }

    def test_threads_never_get_the_same_unit(self, record: Record) -> None:
        """More of them than processors, each on a connection of its own, with children that wait for parents."""
        roots = [unit(f"{number:03}") for number in range(60)]
        units = [*roots, *(unit(f"child of {one.identity}", one.identity) for one in roots)]
        study_id = plan(record, *units)
        won: list[Claim] = []

        def work(owner: str) -> None:
            own = Record.open(record.settings)
            while set(states(own).values()) != {"done"}:
                if (held := claim(own, study_id, owner)) is not None:
                    publish(own, held)
                    won.append(held)
            own.close()

        at_once(*(partial(work, owner) for owner in ("one", "two", "three", "four")))
        assert Counter(held.identity for held in won) == Counter(one.identity for one in units)
        assert {held.identity: published(record, held.identity) for held in won} == {
            held.identity: [mark(held)] for held in won
        }
        assert {held.attempt for held in won} == {1}

    def test_planners_at_once(self, record: Record) -> None:
        """Two studies that share units, each planned twice at once as it grows, in either order."""
        studies = [plan(record, study=name) for name in ("one", "other")]
        plans = [[unit(f"{wave}"), *(unit(f"{wave}/{number}", f"{wave}") for number in range(30))] for wave in range(6)]

        def many(study_id: int, own: Record) -> None:
            whole: list[leases.Planned] = []
            for units in plans:
                whole = [*whole, units[0], *(units[1:] if study_id == studies[0] else units[:0:-1])]
                with own.session() as session:
                    leases.enqueue(session, study_id, whole)

        others = [Record.open(record.settings) for _ in range(4)]
        at_once(*(partial(many, studies[n % 2], own) for n, own in enumerate(others)))
        for own in others:
            own.close()
        assert set(states(record)) == {one.identity for units in plans for one in units}
        sizes = record.query("SELECT study_id, count(*) AS n FROM study_job GROUP BY study_id")
        assert sizes.n.tolist() == [186, 186]
        with record.session(read_only=True) as session:
            assert session.scalar(select(func.count()).select_from(JobParent)) == 180

    def test_planners_in_opposite_orders_do_not_block_each_other(self, record: Record) -> None:
        """The one has put down a unit that the other needs, and needs one that the other has put down."""
        study_id = plan(record)
        other = Record.open(record.settings)
        thread = threading.Thread(target=lambda: plan(other, unit("b"), unit("a"), study="other"))
        with record.session() as session:
            leases.enqueue(session, study_id, [unit("a")])
            thread.start()
            time.sleep(0.5)  # until the other is as far as it may get
            leases.enqueue(session, study_id, [unit("a"), unit("b")])
        thread.join()
        other.close()
        assert record.query("SELECT count(*) AS n FROM study_job GROUP BY study_id").n.tolist() == [2, 2]

    def test_a_unit_that_is_being_published_is_not_given_away(self, record: Record) -> None:
        """Its lease has run out, and the transaction isn't over yet: nobody may take it, nor fail for it."""
        study_id = plan(record, unit("a"), unit("b"))
        late = claimed(record, study_id, "late")
        let_expire(record, late)
        other = Record.open(record.settings)
        got: list[Claim | None] = []
        thread = threading.Thread(target=lambda: got.append(claim(other, study_id, "other")))
        with record.session() as session:
            leases.publish(session, late)
            insert(session, late)
            thread.start()
            time.sleep(0.3)  # meanwhile PostgreSQL passes the unit over; SQLite's claim waits for us
        thread.join()
        other.close()
        assert [held and held.identity for held in got] == ["b"]
        assert states(record) == {"a": "done", "b": "leased"} and published(record, "a") == ["late/1"]

    def test_a_late_worker_and_its_successor_at_once(self, record: Record) -> None:
        """The one publishes while the other claims: one of them wins, never both."""
        own = Record.open(record.settings)
        for number in range(20):
            name = f"{number:02}"
            study_id = plan(record, unit(name), study=name)
            late = claimed(record, study_id, "late")
            let_expire(record, late)
            refused: list[Superseded] = []

            def come_late(late: Claim = late, refused: list[Superseded] = refused) -> None:
                try:
                    publish(record, late)
                except Superseded as error:
                    refused.append(error)

            def succeed(study_id: int = study_id) -> None:
                if (held := claim(own, study_id, "other")) is not None:
                    publish(own, held)

            at_once(come_late, succeed)
            assert published(record, name) == (["other/2"] if refused else ["late/1"])
            assert states(record)[name] == "done"
        own.close()

    @pytest.mark.parametrize("number", range(6))
    def test_a_publisher_and_gc_at_once_never_leave_a_row_without_its_file(self, record: Record, number: int) -> None:
        """Whoever is first: a publisher that was beaten notices, and after a few collections it is beaten no more."""
        data, pause = b"result", 0.01 * (number // 2)
        unhurried = replace(record, blobs=Unhurried(record.blobs.root))
        with record.session() as session:
            job_id = make_job(session, "j", state="lost", lease_until=None).id
            if number % 2:  # what nothing names any more, and is put again
                record_blob(session, record.blobs.put_bytes(data, "bin"))

        def publish() -> None:
            while True:
                with suppress(FileNotFoundError, BlobVanished):  # both are noticed, and the unit computed again
                    blob = record.blobs.put_bytes(data, "bin")
                    os.utime(record.blobs.path(blob.sha256, "bin"), (0, 0))  # as old as what gc takes
                    time.sleep(pause)
                    with record.session() as session:
                        record_artifact(session, job_id, "result", blob)
                    return

        def forget() -> None:
            for _ in range(4):
                collect(unhurried, grace=0)

        at_once(publish, forget)
        with record.session(read_only=True) as session:
            (named,) = session.scalars(select(Artifact.blob))
        assert record.blobs.size(named, "bin") == len(data)
