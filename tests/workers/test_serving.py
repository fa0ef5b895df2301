"""Which studies a worker serves: those it can plan as the others do, in turn, and new ones as they come."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from jobs.pipeline import Replanned
from jobs.stage import Unit
from jobs.worker import serve
from jobs.worker.assignment import Assignment
from jobs.worker.serve import Server
from tdlens.errors import UserError
from tdlens.record import Job, Record, StudyJob, Submission, leases
from tests.workers.workbench import Bench, Watch, bench, chain, job, results


class Serving:
    """A server of studies that `bench` made; what it plans, and when it is asked to stop, a test decides."""

    def __init__(self, record: Record, assignment: Assignment, monkeypatch: pytest.MonkeyPatch) -> None:
        self.watch = Watch()
        self.record = record
        self.server = Server(record, assignment, SimpleNamespace(), self.watch)  # type: ignore[arg-type]
        self.benches: dict[str, Bench] = {}
        self.waits = 0
        monkeypatch.setattr(serve, "validate", lambda config, what: SimpleNamespace(name=what.removeprefix("study ")))
        monkeypatch.setattr(serve, "Context", lambda study, record, bars, note: study)
        monkeypatch.setattr(serve, "plan_study", lambda study: self.benches[study.name].work.plan)
        monkeypatch.setattr(serve, "Work", lambda study, plan, study_id: self.benches[study.name].work)

    def run(self, *waits: object) -> int:
        """Serve; each time that it waits, the next of `waits` is called, and after the last it is asked to stop."""
        doings = list(waits)

        def stopped(seconds: float) -> bool:
            if seconds and doings:
                doings.pop(0)()  # type: ignore[operator]
            elif seconds:
                self.waits += 1
            return self.waits > 0

        return self.server.run(stopped)


def test_without_a_study_it_serves_whatever_comes(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    serving = Serving(record, Assignment(), monkeypatch)

    def submit(name: str) -> None:
        serving.benches[name] = bench(record, [Unit("bench", name, {})], name)

    assert serving.run(lambda: submit("first"), lambda: submit("second")) == 0
    assert serving.watch.outcomes == ["published", "published"]
    assert [key for key, _, _ in results(record)] == ["first", "second"]
    assert serving.watch.states[0] == "waiting" and serving.watch.states[-1] == "waiting"


def test_a_study_that_cannot_be_planned_here_is_left_to_others(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one whose model isn't on this machine."""
    serving = Serving(record, Assignment(), monkeypatch)
    serving.benches = {name: bench(record, [Unit("bench", name, {})], name) for name in ("elsewhere", "here")}
    planned = serve.plan_study

    def plan(study: SimpleNamespace) -> object:
        if study.name == "elsewhere":
            raise UserError("There is no model in /models/large.", "Copy it here.")
        return planned(study)  # type: ignore[arg-type]

    monkeypatch.setattr(serve, "plan_study", plan)
    assert serving.run() == 0
    assert [key for key, _, _ in results(record)] == ["here"]
    assert sum("no model in /models/large" in note for note in serving.watch.notes) == 1, "it is not asked all the time"
    assert job(record, "elsewhere").state == "pending"


def test_a_worker_of_another_version_does_not_bend_the_plan(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of its version have other identities: it must not put them in the place of the study's."""
    mine = bench(record, [Unit("bench", "0", {}, version=2)])
    study_id = mine.work.study_id
    bench(record, [Unit("bench", "0", {})])  # the study is planned by the other version, after this one knew it
    for assignment in (Assignment(), Assignment(studies=("bench",))):
        serving = Serving(record, assignment, monkeypatch)
        serving.benches = {"bench": mine}
        if assignment.studies:
            with pytest.raises(UserError, match="plans bench otherwise"):
                serving.run()
        else:
            assert serving.run() == 0 and "plans bench otherwise" in serving.watch.notes[0]
    with record.session(read_only=True) as session:
        held = session.query(StudyJob).where(StudyJob.study_id == study_id).count()
    assert held == 1 and results(record) == []


def test_a_study_that_another_version_plans_anew_meanwhile(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim of a unit that it doesn't know goes back at once; the worker serves others, or says what to do."""
    serving = Serving(record, Assignment(), monkeypatch)
    mine = serving.benches["bench"] = bench(record, chain(2))
    mine.stage.before = lambda unit: bench(record, [Unit("bench", "new", {}, version=2)])
    assert serving.run() == 0
    assert serving.watch.outcomes == ["published"]
    assert "has planned bench anew" in serving.watch.notes[0]
    left = job(record, "new")
    assert (left.state, left.owner) == ("pending", None)
    with pytest.raises(Replanned):
        mine.step()


@pytest.mark.parametrize("failing", [False, True])
def test_a_submission_ends_with_its_study(record: Record, monkeypatch: pytest.MonkeyPatch, failing: bool) -> None:
    mine = bench(record, chain(3))
    submission = Submission(study_id=mine.work.study_id, executor="local", settings={})
    with record.session() as session:
        session.add(submission)

    def fail(unit: Unit) -> None:
        if failing and unit.key == "1":
            raise RuntimeError("boom")

    mine.stage.before = fail
    monkeypatch.setattr(type(mine.work), "progress", lambda self: {"bench": SimpleNamespace(failed=int(failing))})
    serving = Serving(record, Assignment(submission=submission.id), monkeypatch)
    serving.benches = {"bench": mine}
    assert serving.run() == int(failing)
    states = [job(record, key).state for key in "012"]
    assert states == (["done", "failed", "pending"] if failing else ["done"] * 3)


def test_leases_of_a_study_that_nobody_renews_make_it_needy(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    serving = Serving(record, Assignment(), monkeypatch)
    serving.benches["bench"] = bench(record)
    with record.session() as session:
        leases.claim(session, 1, "elsewhere/0:1:1", lease=-1.0, provenance={})
    assert serving.run() == 0
    assert serving.watch.outcomes == ["published"] and job(record).attempt == 2
    with record.session(read_only=True) as session:
        assert session.query(Job).count() == 1
