"""A study whose units take no time: each publishes one small blob. Ledger, loop and blobs are the real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from jobs.pipeline import Work
from jobs.stage import Plan, Publish, Unit
from jobs.worker.loop import Idle, compute_next
from tdlens.fsck import check_blobs
from tdlens.record import Artifact, Blob, Job, Record, current_study, leases, record_artifact
from tdlens.record.leases import Claim
from tests.workers.fake_process import PROVENANCE


@dataclass(eq=False)
class Stage:
    """The only stage of the study; `before` runs when a unit is computed."""

    before: Callable[[Unit], object] = lambda unit: None
    content: Callable[[Unit], bytes] = lambda unit: f"result of {unit.key}".encode()
    inserted: list[str] = field(default_factory=list)
    NAME: str = "bench"
    DESCRIPTION: str = "does nothing of use"

    def units(self, context: object, plan: Plan) -> list[Unit]:
        raise NotImplementedError

    def run(self, context: SimpleNamespace, unit: Unit) -> Publish:
        self.before(unit)
        blob = context.record.blobs.put_bytes(self.content(unit), "bin")

        def insert(session: Session, job_id: int) -> None:
            self.inserted.append(unit.key)
            record_artifact(session, job_id, "result", blob)

        return insert


@dataclass(eq=False)
class Watch:
    """Remembers what it is told."""

    outcomes: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[BaseException | None] = field(default_factory=list)
    claim: Claim | None = None

    def claimed(self, claim: Claim, unit: Unit) -> None:
        self.claim = claim

    def let_go(self, outcome: str, error: BaseException | None = None) -> None:
        self.outcomes.append(outcome)
        self.errors.append(error)

    def idle(self, state: Idle, study_id: int | None = None) -> None:
        self.states.append(state)

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass(eq=False)
class Bench:
    """One process's hold on the study: its connection, its plan, its stage."""

    record: Record
    work: Work
    stage: Stage
    watch: Watch = field(default_factory=Watch)

    def step(self, *, lease: float = leases.LEASE, stop_on_error: bool = False) -> bool:
        """Claim, compute and publish one unit; False if there is none."""
        return compute_next(self.work, self.watch, lease=lease, stop_on_error=stop_on_error)

    def finish(self, claim: Claim) -> None:
        """Compute and publish a unit that was claimed by hand, as somebody else."""
        insert = self.stage.run(self.work.context, self.work.unit(claim))  # type: ignore[arg-type]
        with self.record.session() as session:
            leases.publish(session, claim)
            insert(session, claim.job_id)


def chain(n: int) -> list[Unit]:
    """Units `0`, `1`, …, each the parent of the next."""
    units: list[Unit] = []
    for index in range(n):
        units.append(Unit("bench", str(index), {}, tuple(units[-1:])))
    return units


def bench(record: Record, units: list[Unit] | None = None, name: str = "bench") -> Bench:
    """Plan the study (one unit, unless `units` are given) on a connection of the record's own."""
    stage = Stage()
    with record.session() as session:
        study_id = current_study(session, name=name, title=name, config={}).id
    context = SimpleNamespace(
        record=record,
        study=SimpleNamespace(name=name),
        remember=lambda ids: None,
        network=SimpleNamespace(place="cpu"),
        close=lambda: None,
    )
    work = Work(context, Plan(chain(1) if units is None else units), study_id)  # type: ignore[arg-type]
    work._stages = {stage.NAME: stage}
    return Bench(record, work, stage)


@pytest.fixture
def second(record: Record) -> Iterator[Record]:
    """Another process's connections to the same record."""
    opened = Record.open(record.settings)
    yield opened
    opened.close()


def claim_of(record: Record, study_id: int, owner: str = "elsewhere/0:1:1", lease: float = leases.LEASE) -> Claim:
    """A claim of the study's next unit by somebody else."""
    with record.session() as session:
        claim = leases.claim(session, study_id, owner, lease=lease, provenance=PROVENANCE)
    assert claim is not None
    return claim


def lapse(record: Record) -> None:
    """Make all leases run out, as time does."""
    with record.session() as session:
        session.execute(update(Job).where(Job.state == "leased").values(lease_until=leases.clock(-1.0)))


def job(record: Record, key: str = "0") -> Job:
    """A unit's row."""
    with record.session(read_only=True) as session:
        return session.scalars(select(Job).where(Job.key == key)).one()


def results(record: Record) -> list[tuple[str, str, bytes]]:
    """What was published: key, name and content of each artifact, with its file checked."""
    query = select(Job.key, Artifact.name, Blob.sha256, Blob.suffix).join(Artifact, Artifact.job_id == Job.id)
    with record.session(read_only=True) as session:
        found = session.execute(query.join(Blob, Blob.sha256 == Artifact.blob).order_by(Job.key)).all()
    return [(key, name, record.blobs.read(sha256, suffix)) for key, name, sha256, suffix in found]


def findings(record: Record) -> list[str]:
    """Kinds of all that `tdlens fsck --full` finds."""
    return sorted(finding.kind for finding in check_blobs(record, full=True))
