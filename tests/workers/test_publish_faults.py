"""A fault between every two steps of publishing a unit: never a row without its file, and a rerun ends the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from jobs.worker import patience
from tdlens import blobs
from tdlens.errors import Unreachable
from tdlens.garbage import collect
from tdlens.record import Record, leases
from tests.workers.workbench import bench, findings, job, lapse, results

FILE = (
    *("file begun", "file written", "file hashed", "mode set", "file flushed", "folder made"),
    *("folders above flushed", "renamed", "folder flushed", "temporary gone"),
)
ROWS = (
    *("transaction begun", "fence passed", "blob looked up", "blob inserted"),
    *("artifact inserted", "about to commit", "committed"),
)
STEPS = FILE + ROWS
"""The protocol: what is true after each step of publishing the first blob of a store."""
EXPECTED = [("0", "result", b"result of 0")]


class Fault(Exception):
    """What a defect raises."""


@dataclass(eq=False)
class Trace:
    """Reports each step once it is taken; `at` one of them, `fault` happens, once."""

    record: Record
    at: str | None = None
    fault: Callable[[], object] = lambda: None
    steps: list[str] = field(default_factory=list)

    def reached(self, step: str) -> None:
        if step not in self.steps:
            self.steps.append(step)
        if step == self.at:
            self.at = None
            self.fault()

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Watch the operating system and the database's driver from here on."""
        with pytest.MonkeyPatch.context() as patch:
            self._after(patch, blobs, "_hash", lambda path: "file hashed")
            self._after(patch, Path, "chmod", lambda path, mode: "mode set")
            self._after(patch, Path, "mkdir", self._made)
            self._after(patch, Path, "replace", lambda path, target: "renamed")
            self._after(patch, Path, "unlink", lambda path, **_: "temporary gone")
            self._after(patch, os, "fsync", self._flushed)
            write = blobs._write

            def written(path: Path, data: bytes) -> None:
                write(path, data[:-1])
                self.reached("file begun")
                write(path, data)
                self.reached("file written")

            patch.setattr(blobs, "_write", written)
            listeners: list[tuple[Any, str, Callable[..., None]]] = [
                (self.record.engine, "begin", lambda *_: self.reached("transaction begun")),
                (self.record.engine, "after_cursor_execute", lambda c, cursor, sql, *_: self._executed(sql)),
                (self.record.engine, "commit", lambda *_: self.reached("about to commit")),
                (Session, "after_commit", lambda *_: self.reached("committed")),
            ]
            for listener in listeners:
                event.listen(*listener)
            try:
                yield
            finally:
                for listener in listeners:
                    event.remove(*listener)

    def _after(self, patch: pytest.MonkeyPatch, place: Any, name: str, step: Callable[..., str | None]) -> None:
        whole = getattr(place, name)

        def wrapped(*given: Any, **named: Any) -> Any:
            reached = step(*given, **named)  # first: afterwards the file may have another name
            value = whole(*given, **named)
            if reached is not None:
                self.reached(reached)
            return value

        patch.setattr(place, name, wrapped)

    def _made(self, path: Path, *_: Any, **__: Any) -> str | None:
        return "folder made" if path.parent.name == "sha256" and not path.exists() else None

    def _flushed(self, descriptor: int) -> str:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.parent.name == "unfinished":
            return "file flushed"
        return "folder flushed" if path.parent.name == "sha256" else "folders above flushed"

    def _executed(self, sql: str) -> None:
        statements = {
            "UPDATE job": "fence passed",
            "SELECT blob": "blob looked up",
            "INSERT INTO blob": "blob inserted",
            "INSERT INTO artifact": "artifact inserted",
        }
        for start, step in statements.items():
            if sql.startswith(start):
                self.reached(step)


def publish_one(record: Record, at: str | None, fault: Callable[[], object]) -> tuple[list[str], list[str]]:
    """Compute the study's unit with a fault at a step; the steps that were reached, and what became of the unit."""
    here = bench(record)
    trace = Trace(record, at, fault)
    compute = here.stage.run

    with pytest.MonkeyPatch.context() as patch, trace.armed():
        trace.at = None

        def arm(*given: Any) -> Any:
            trace.steps.clear()  # of the claim
            trace.at = at
            return compute(*given)

        patch.setattr(here.stage, "run", arm)
        here.step()
    return trace.steps, here.watch.outcomes


def killed_at(record: Record, step: str) -> None:
    """Publish in another process that is killed at the step."""
    record.engine.dispose()
    child = os.fork()
    if child == 0:
        try:
            publish_one(Record.open(record.settings), step, lambda: os.kill(os.getpid(), signal.SIGKILL))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, f"{step!r} was never reached"


def leavings(record: Record) -> tuple[int, int]:
    """Files without a row, and unfinished files."""
    found = findings(record)
    assert set(found) <= {"orphan"}, "a row without its file"
    return len(found), len(record.blobs.unfinished(older_than=0.0))


def test_the_steps_are_those_of_an_undisturbed_publication(record: Record) -> None:
    steps, outcomes = publish_one(record, None, lambda: None)
    assert tuple(steps) == STEPS and outcomes == ["published"]
    assert results(record) == EXPECTED and leavings(record) == (0, 0)


@pytest.mark.parametrize("step", STEPS)
def test_a_process_killed_at_any_step(record: Record, step: str) -> None:
    killed_at(record, step)
    done = step == "committed"
    assert job(record).state == ("done" if done else "leased")
    assert results(record) == (EXPECTED if done else [])
    named = STEPS.index(step) >= STEPS.index("renamed")
    assert leavings(record) == (int(named and not done), int(not named))

    assert collect(record, grace=0).files == [], "the unit may still be in somebody's hands"
    lapse(record)
    gone = collect(record, grace=0)
    assert (len(gone.files), len(gone.unfinished)) == (int(named and not done), int(not named))
    assert leavings(record) == (0, 0)

    again = bench(record)
    assert again.step() is not done
    after = job(record)
    assert (after.state, after.attempt, after.error) == ("done", 1 if done else 2, None)
    assert results(record) == EXPECTED and leavings(record) == (0, 0)


@pytest.mark.parametrize("step", ["renamed", "fence passed", "about to commit"])
def test_who_comes_after_a_killed_process_on_the_same_machine_waits_for_no_lease(record: Record, step: str) -> None:
    killed_at(record, step)
    again = bench(record)
    assert again.step() and again.watch.outcomes == ["published"]
    assert results(record) == EXPECTED and leavings(record) == (0, 0)


@pytest.mark.parametrize("step", STEPS)
def test_an_error_at_any_step(record: Record, step: str) -> None:
    def fault() -> None:
        raise Fault(f"after {step!r}")

    _, outcomes = publish_one(record, step, fault)
    assert outcomes == ["failed"]
    done = step == "committed"
    left = job(record)
    assert (left.state, left.error) == (("done", None) if done else ("failed", f"after {step!r}"))
    assert results(record) == (EXPECTED if done else [])
    named = STEPS.index(step) >= STEPS.index("renamed")
    assert leavings(record) == (int(named and not done), 0), "a process that lives cleans up"

    again = bench(record)
    with record.session() as session:
        leases.retry_failed(session, again.work.study_id)
    assert again.step() is not done
    assert results(record) == EXPECTED and leavings(record) == (0, 0)


@pytest.mark.parametrize("step", ROWS)
def test_a_connection_lost_at_any_step_of_the_transaction(
    record: Record, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the answer was that got lost: the unit is published, once, in the first attempt."""
    monkeypatch.setattr(patience, "PAUSE", 0.0)

    def fault() -> None:
        raise Unreachable("gone", "wait")

    _, outcomes = publish_one(record, step, fault)
    assert outcomes == ["published"]
    after = job(record)
    assert (after.state, after.attempt) == ("done", 1)
    assert results(record) == EXPECTED and leavings(record) == (0, 0)
