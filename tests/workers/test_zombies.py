"""A worker that was given up for dead comes back: refused if its unit was given away, welcome if nobody took it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from jobs.stage import Publish, Unit
from jobs.worker.loop import drain
from tdlens.garbage import collect
from tdlens.record import Record, leases
from tdlens.record.leases import Claim, Superseded
from tests.workers.fake_process import DEADLINE, until
from tests.workers.workbench import (
    Bench,
    bench,
    chain,
    claim_of,
    findings,
    job,
    lapse,
    results,
    second,
)

__all__ = ["second"]


def late(record: Record, meanwhile: Callable[[], object], content: bytes | None = None) -> Bench:
    """A worker whose lease runs out while it computes, and then something else happens."""
    here = bench(record)

    def long(unit: object) -> None:
        lapse(record)
        meanwhile()

    here.stage.before = long
    if content is not None:
        here.stage.content = lambda unit: content
    assert here.step()
    return here


@pytest.mark.parametrize("content", [None, b"not quite the same result"])
def test_a_late_worker_whose_unit_another_did_is_refused(record: Record, second: Record, content: bytes | None) -> None:
    other = bench(second)
    here = late(record, other.step, content)
    assert (here.watch.outcomes, other.watch.outcomes) == (["superseded"], ["published"])
    assert here.stage.inserted == [], "the fence comes before any row"
    after = job(record)
    assert (after.state, after.attempt) == ("done", 2)
    assert results(record) == [("0", "result", b"result of 0")]
    # the same result is the same file; another one is an orphan, no damage, and goes
    assert findings(record) == ([] if content is None else ["orphan"])
    assert len(collect(record, grace=0).files) == len([] if content is None else [1])
    assert findings(record) == [] and results(record) == [("0", "result", b"result of 0")]


def test_a_late_worker_is_refused_while_the_other_still_computes(record: Record, second: Record) -> None:
    taken: list[Claim] = []
    here = late(record, lambda: taken.append(claim_of(second, 1)))
    assert here.watch.outcomes == ["superseded"]
    after = job(record)
    assert (after.state, after.attempt, after.owner) == ("leased", 2, taken[0].owner)
    assert results(record) == []
    with second.session() as session:
        leases.publish(session, taken[0])
    assert job(record).state == "done"


def reaped(record: Record) -> None:
    with record.session() as session:
        assert leases.reap(session) == 1


@pytest.mark.parametrize("meanwhile", [lambda record: None, reaped], ids=["unnoticed", "declared lost"])
def test_a_late_worker_whose_unit_nobody_took_publishes(
    record: Record, second: Record, meanwhile: Callable[[Record], None]
) -> None:
    here = late(record, lambda: meanwhile(second))
    assert here.watch.outcomes == ["published"]
    after = job(record)
    assert (after.state, after.attempt, after.error) == ("done", 1, None)
    assert results(record) == [("0", "result", b"result of 0")] and findings(record) == []


def test_nothing_a_late_worker_says_counts_once_its_unit_was_given_away(record: Record, second: Record) -> None:
    study_id = bench(record).work.study_id
    before = claim_of(record, study_id, lease=-1.0)
    now = claim_of(second, study_id, owner="another/0:2:2")
    for word in (
        lambda session: leases.renew(session, before),
        lambda session: leases.release(session, before),
        lambda session: leases.fail(session, before, "boom"),
        lambda session: leases.lose(session, before, "gone"),
        lambda session: leases.published(session, before),
    ):
        with record.session() as session:
            assert word(session) is False
    with pytest.raises(Superseded), record.session() as session:
        leases.publish(session, before)
    after = job(record)
    assert (after.state, after.attempt, after.owner, after.error) == ("leased", 2, now.owner, None)


@pytest.mark.parametrize("wrong", [{"attempt": 2}, {"owner": "another/0:2:2"}, {"job_id": 2}])
def test_unit_attempt_and_owner_must_all_be_right(record: Record, wrong: dict[str, int | str]) -> None:
    study_id = bench(record, chain(2)).work.study_id
    held = claim_of(record, study_id)
    other = Claim(**{"job_id": held.job_id, "identity": held.identity, "attempt": 1, "owner": held.owner} | wrong)  # type: ignore[arg-type]
    with pytest.raises(Superseded), record.session() as session:
        leases.publish(session, other)
    with record.session() as session:
        assert not leases.renew(session, other) and not leases.release(session, other)
        assert leases.renew(session, held)


def test_a_heartbeat_brings_back_a_unit_that_was_only_declared_lost(record: Record, second: Record) -> None:
    study_id = bench(record).work.study_id
    held = claim_of(record, study_id, lease=-1.0)
    reaped(second)
    assert job(record).error == "its worker gave no sign of life"
    with record.session() as session:
        assert leases.renew(session, held)
    after = job(record)
    assert (after.state, after.attempt, after.error) == ("leased", 1, None)
    other = bench(second)
    assert not other.step()


@pytest.mark.parametrize("record", ["postgresql"], indirect=True)  # SQLite's transactions are alone anyway
def test_nobody_waits_for_or_takes_a_unit_that_a_late_worker_is_publishing(record: Record, second: Record) -> None:
    study_id = bench(record).work.study_id
    held = claim_of(record, study_id, lease=-1.0)
    with record.session() as publishing:
        leases.publish(publishing, held)
        with second.session() as session:
            session.execute(text("SET LOCAL lock_timeout = '5s'"))
            assert leases.reap(session) == 0
            assert leases.claim(session, study_id, "another/0:2:2", provenance={}) is None
            assert leases.unsettled(session, study_id), "whoever waits must go on waiting"
    assert job(record).state == "done"


@pytest.mark.parametrize("record", ["postgresql"], indirect=True)  # only a server outlives who holds its lock
def test_a_worker_that_is_stopped_while_it_publishes_locks_its_unit_for_a_while_only(
    record: Record, second: Record
) -> None:
    frozen, other = bench(record), bench(second)
    compute = frozen.stage.run

    def run(context: object, unit: Unit) -> Publish:
        insert = compute(context, unit)  # type: ignore[arg-type]

        def stopped(session: Session, job_id: int) -> None:
            session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '500ms'"))
            lapse_it.set()
            assert finished.wait(DEADLINE)
            insert(session, job_id)

        return stopped

    lapse_it = threading.Event()
    finished = threading.Event()

    def take() -> Claim | None:
        with second.session() as session:
            return leases.claim(session, other.work.study_id, "elsewhere/0:1:1", provenance={})

    def beside() -> None:
        lapse_it.wait()
        taken: list[Claim | None] = [None]
        until(lambda: taken.append(take()) or taken[-1], "the unit")()
        assert taken[-1] is not None
        other.finish(taken[-1])
        finished.set()

    frozen.stage.run = run  # type: ignore[method-assign]
    thread = threading.Thread(target=beside)
    thread.start()
    assert frozen.step(lease=0.1)
    thread.join()
    assert frozen.watch.outcomes == ["superseded"]
    assert results(record) == [("0", "result", b"result of 0")] and job(record).attempt == 2


def test_two_workers_share_a_study_and_no_unit_is_done_twice(record: Record) -> None:
    """Each unit the next one's parent, so that one of them always waits for the other."""
    here = bench(record, chain(12))
    record.engine.dispose()
    child = os.fork()
    if child == 0:
        try:
            there = bench(Record.open(record.settings), chain(12))
            drain(there.work, there.watch, lambda seconds: bool(time.sleep(seconds)), lease=600)
            os._exit(len(there.watch.outcomes) if set(there.watch.outcomes) <= {"published"} else 100)
        finally:
            os._exit(101)
    drain(here.work, here.watch, lambda seconds: bool(time.sleep(seconds)), lease=600)
    others = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert set(here.watch.outcomes) <= {"published"} and len(here.watch.outcomes) + others == 12
    assert [content for _, _, content in results(record)] == sorted(b"result of %d" % index for index in range(12))
    assert record.query("SELECT max(attempt) AS n FROM job").n.item() == 1


def test_a_worker_stays_while_a_unit_may_come_back(record: Record, second: Record) -> None:
    """Another's unit is given back just when this worker finds nothing to claim: it isn't to end then."""
    here = bench(record)
    held = claim_of(second, here.work.study_id, owner="elsewhere/0:1:1")
    unsettled = leases.unsettled

    def given_back_before_it_looks(session: object, study_id: int) -> bool:
        with second.session() as other:
            leases.release(other, held)
        return unsettled(session, study_id)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases, "unsettled", given_back_before_it_looks)
        drain(here.work, here.watch, lambda seconds: False, lease=60)
    assert here.watch.outcomes == ["published"]


def test_a_worker_ends_when_what_is_left_waits_for_a_failed_unit(record: Record) -> None:
    here = bench(record, chain(3))

    def fail(unit: object) -> None:
        raise RuntimeError("boom")

    here.stage.before = fail
    drain(here.work, here.watch, lambda seconds: False, lease=60)
    assert here.watch.outcomes == ["failed"] and here.watch.states == []
    assert [job(record, key).state for key in "012"] == ["failed", "pending", "pending"]
