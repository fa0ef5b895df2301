"""The supervising process: heartbeat, death of the computing process, signals, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text

from jobs.worker import supervisor
from jobs.worker.assignment import Assignment
from jobs.worker.supervisor import start_process
from tdlens.errors import UserError
from tdlens.record import Record, Worker, leases
from tests.workers.fake_process import Acts, Said, signalled, until
from tests.workers.workbench import bench, chain, job, second

__all__ = ["second"]

on_one_database = pytest.mark.parametrize("record", ["sqlite"], indirect=True)
"""For what no database decides."""
PUBLISHED = "let_go('published'); sys.exit(0)"
COMPUTES = "time.sleep(600)"


def worker(record: Record) -> Worker:
    """The only worker's row."""
    with record.session(read_only=True) as session:
        return session.scalars(select(Worker)).one()


def made(record: Record, *acts: str, n: int = 1, **options: Any) -> Said:
    """A supervisor over a study of n units, each the parent of the next."""
    lease = options.pop("lease", leases.LEASE)
    return Said(Acts(record, bench(record, chain(n)).work.study_id, acts, lease), **options)


def claimed(said: Said, n: int = 1) -> Callable[[], None]:
    """Wait until the n-th process's claim is the worker's."""

    def there() -> bool:
        row = worker(said.acts.record) if len(said.acts.processes) >= n else None
        return row is not None and row.job_id is not None and row.state == "working"

    return until(there, f"claim {n}")


def test_the_supervisor_and_the_messages_need_no_torch() -> None:
    """It would take seconds and memory, and a heartbeat that is late."""
    code = (
        "import jobs.cli.worker, jobs.worker.supervisor, jobs.worker.heartbeat, jobs.worker.child, sys;"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_end_of_a_study(record: Record) -> None:
    said = made(record, PUBLISHED)
    assert said.run() == 0
    row = worker(record)
    assert (row.state, row.published, row.job_id, row.progress) == ("stopped", 1, None, None)
    assert said.lines == [said.lines[0]] and said.lines[0].startswith("bench 0 published after ")


@on_one_database
@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_exit_code_is_the_computing_processes(record: Record, code: int) -> None:
    said = made(record, f"let_go('published'); sys.exit({code})")
    assert said.run() == code and len(said.acts.processes) == 1


@on_one_database
def test_signal_handlers_are_as_before_afterwards(record: Record) -> None:
    before = [signal.getsignal(number) for number in supervisor.SIGNALS]
    made(record, PUBLISHED).run()
    assert [signal.getsignal(number) for number in supervisor.SIGNALS] == before


# --- heartbeat


@pytest.mark.parametrize("act", [COMPUTES, "die(signal.SIGSTOP)"], ids=["busy", "stopped hard"])
def test_a_lease_is_renewed_whatever_the_computing_process_does(
    record: Record, second: Record, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SIGN", 0.2)
    said = made(record, act, grace=0.0)
    claim_times, others = [], []

    def renewed() -> bool:
        claim_times.append(job(second).lease_until)
        others.append(bench(second).step())
        return len(set(claim_times)) > 4

    assert said.run(claimed(said), until(renewed, "heartbeats"), signalled(signal.SIGTERM)) == 0
    assert not any(others), "it was given away although its worker lives"
    assert claim_times == sorted(claim_times)
    assert "goes back in line" in said.text  # the way out for a unit that hangs
    left = job(record)
    assert (left.state, left.attempt, left.owner) == ("pending", 1, None)


@on_one_database
def test_a_worker_shows_itself_often_however_long_the_lease_is(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "SIGN", 0.2)
    said = made(record, COMPUTES, lease=3600.0, grace=0.0)
    seen: set[object] = set()
    more = until(lambda: seen.add(worker(record).seen_at) or len(seen) > 3, "signs of life")
    said.run(claimed(said), more, signalled(signal.SIGTERM))


def test_what_a_worker_does_is_in_the_record_soon(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "SIGN", 3600.0)
    act = "send('progress', activity='trains', share=0.25);" + COMPUTES
    said = made(record, act, lease=4 * 3600.0, grace=0.0)  # beats every hour
    shown = until(lambda: worker(record).progress == 0.25, "progress")
    seen: list[Worker] = []
    said.run(claimed(said), shown, lambda: seen.append(worker(record)), signalled(signal.SIGTERM))
    assert (seen[0].state, seen[0].activity, seen[0].job_id) == ("working", "trains", job(record).id)


def test_a_heartbeat_that_the_database_refuses_ends_nothing(record: Record) -> None:
    """The unit that a worker computes is deleted meanwhile: its row can't name it any more."""
    said = made(record, "wait_for_stop(); let_go('superseded')", lease=1.0)

    def delete() -> None:
        with record.session() as session:
            session.execute(text("UPDATE worker SET job_id = NULL"))
            session.execute(text("DELETE FROM job"))

    refused = until(lambda: any("foreign" in line.lower() for line in said.lines), "refusal")
    assert said.run(claimed(said), delete, refused, signalled(signal.SIGTERM)) == 0
    assert worker(record).state == "stopped"


# --- death


def test_a_unit_whose_process_died_is_lost_at_once_and_tried_again(record: Record) -> None:
    said = made(record, "die()", PUBLISHED)
    found: list[tuple[str, str | None]] = []
    said.acts.before = lambda: found.append((job(record).state, job(record).error))
    assert said.run() == 0
    why = "the process that computed it died with signal 9 (SIGKILL); out of memory?"
    assert found == [("pending", None), ("lost", why)]
    assert job(record).attempt == 2 and f"bench 0: {why}" in said.lines


@pytest.mark.parametrize("retries", [0, 2])
def test_a_unit_that_kills_its_process_again_and_again_fails(record: Record, retries: int) -> None:
    said = made(record, *["die(signal.SIGSEGV)"] * (retries + 1), "sys.exit(1)", retries=retries)
    assert said.run() == 1
    left = job(record)
    assert (left.state, left.attempt) == ("failed", retries + 1)
    assert left.error == f"the process that computed it died with signal 11 (SIGSEGV), {retries + 1} times"
    assert said.acts.claims[-1] is None and len(said.acts.processes) == retries + 2


@on_one_database
def test_a_process_that_ends_without_a_word_is_a_death_too(record: Record) -> None:
    said = made(record, "os._exit(70)", PUBLISHED)
    assert said.run() == 0
    assert "bench 0: the process that computed it died with exit code 70" in said.lines


@on_one_database
def test_a_worker_whose_process_always_dies_gives_up(record: Record) -> None:
    said = made(record, "die()", n=1, retries=99)
    assert said.run() == 1
    assert len(said.acts.processes) == supervisor.CRASHES and "giving up" in said.text
    assert (job(record).state, worker(record).state) == ("lost", "stopped")


@on_one_database
def test_deaths_between_successes_are_no_reason_to_give_up(record: Record) -> None:
    said = made(record, *["let_go('published'); die()"] * (supervisor.CRASHES + 2), "sys.exit(0)")
    assert said.run() == 0 and worker(record).published == supervisor.CRASHES + 2


@on_one_database
def test_a_death_is_noticed_while_something_holds_the_process_output_open(record: Record) -> None:
    """Such as a process of a data loader, left behind."""
    said = made(
        record,
        "child = os.fork()\nif child == 0:\n    time.sleep(120)\nelse:\n    let_go('published'); die()",
        "sys.exit(0)",
    )
    began = time.monotonic()
    assert said.run() == 0 and len(said.acts.processes) == 2
    assert time.monotonic() - began < 60


def test_what_a_unit_had_published_when_its_process_died_stays_done(record: Record) -> None:
    said = made(record, "sys.stdin.readline()", "sys.exit(0)")

    def publish_and_die() -> None:
        said.acts.publish()
        said.acts.processes[0].kill()

    assert said.run(claimed(said), publish_and_die) == 0
    left = job(record)
    assert (left.state, left.attempt, left.error) == ("done", 1, None)


# --- being asked to stop


@on_one_database
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
def test_a_unit_may_be_finished_within_the_grace_period(record: Record, number: signal.Signals) -> None:
    said = made(record, "wait_for_stop(); wait_for_test(); let_go('published'); sys.exit(0)", grace=600.0)
    states: list[str] = []
    stopping = until(lambda: states.append(worker(record).state) or "stopping" in states, "state")

    def go_on() -> None:
        said.acts.processes[0].send_signal(signal.SIGUSR1)

    assert said.run(claimed(said), signalled(number), stopping, go_on) == 0
    assert said.lines[0] == f"{number.name}: no new units; bench 0 may take 600 s more."
    assert said.lines[1].startswith("bench 0 published") and len(said.acts.processes) == 1


def test_a_unit_that_takes_longer_goes_back_in_line_for_others(record: Record, second: Record) -> None:
    said = made(record, COMPUTES, grace=0.2)
    assert said.run(claimed(said), signalled(signal.SIGTERM)) == 0
    left = job(record)
    assert (left.state, left.owner, left.lease_until, left.error) == ("pending", None, None, None)
    other = bench(second)
    assert other.step() and job(record).attempt == 2


@on_one_database
def test_a_second_signal_ends_it_at_once_and_an_echo_of_the_first_does_not(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "AGAIN", 3600.0)
    said = made(record, COMPUTES, grace=4 * 3600.0)
    stopping = until(lambda: worker(record).state == "stopping", "state")

    def echo() -> None:
        signalled(signal.SIGTERM)()  # a group's leader passes on what all of them were sent
        time.sleep(0.5)
        assert said.acts.processes[0].poll() is None
        monkeypatch.setattr(supervisor, "AGAIN", 0.0)

    assert said.run(claimed(said), signalled(signal.SIGTERM), stopping, echo, signalled(signal.SIGTERM)) == 0
    assert job(record).state == "pending"


@on_one_database
def test_asked_to_stop_it_exits_with_0_though_units_failed(record: Record) -> None:
    said = made(record, "wait_for_stop(); let_go('failed', 'boom'); sys.exit(1)")
    assert said.run(claimed(said), signalled(signal.SIGTERM)) == 0


@on_one_database
def test_a_process_that_died_is_not_started_again_once_the_worker_was_asked_to_stop(record: Record) -> None:
    said = made(record, "wait_for_stop(); die()")
    assert said.run(claimed(said), signalled(signal.SIGTERM)) == 0
    assert len(said.acts.processes) == 1 and job(record).state == "pending"


def test_the_computing_process_gets_no_interrupt_meant_for_the_supervisor() -> None:
    """A terminal interrupts the whole group, also while the process still imports and could not ignore it."""
    process = start_process(Assignment())
    try:
        with open(f"/proc/{process.pid}/status") as status:  # noqa: PTH123
            blocked = next(int(line.split()[1], 16) for line in status if line.startswith("SigBlk"))
        assert all(blocked >> (number - 1) & 1 for number in supervisor.SIGNALS)
    finally:
        process.kill()
        process.communicate()
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(supervisor.SIGNALS)


@on_one_database
def test_the_computing_process_ends_with_its_supervisor(record: Record) -> None:
    """Before it has imported anything heavy, too."""
    environment = os.environ | record.settings.environment
    command = [sys.executable, "-m", "jobs.worker.child", '{"studies": [], "submission": null, "lease": 60}']
    child = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(timeout=60) == 70


# --- what it is to do


@on_one_database
@pytest.mark.parametrize("assignment", [Assignment(studies=("nothing",)), Assignment(submission=7)])
def test_an_unknown_study_or_submission_is_refused_before_anything_starts(
    record: Record, assignment: Assignment
) -> None:
    def never(assignment: Assignment) -> subprocess.Popen[bytes]:
        raise AssertionError("started")

    one = supervisor.Supervisor(record, assignment, 1.0, 1, say=lambda line: None, start=never)
    with pytest.raises(UserError, match=r"There is no (study nothing|submission 7)"):
        one.run()


def test_workers_that_are_long_gone_are_taken_off_the_list(record: Record) -> None:
    with record.session() as session:
        for owner, ago in (("old", 8 * 24 * 3600.0), ("recent", 6 * 24 * 3600.0)):
            session.add(Worker(owner=owner, state="working"))
            session.flush()
            session.execute(
                text("UPDATE worker SET seen_at = :then WHERE owner = :owner"),
                {"then": session.scalars(select(leases.clock(-ago))).one(), "owner": owner},
            )
    made(record, PUBLISHED).run()
    with record.session(read_only=True) as session:
        owners = set(session.scalars(select(Worker.owner)))
    assert "recent" in owners and "old" not in owners and len(owners) == 2
