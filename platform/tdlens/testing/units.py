"""Short words for tests of the ledger: plan units, claim them, let leases run out."""

from typing import Any
from uuid import uuid4

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tdlens.record import Job, Record, current_study, leases, record_artifact
from tdlens.record.leases import Claim, Planned, clock

PROVENANCE: dict[str, Any] = {"git_commit": "c0ffee", "git_dirty": False, "versions": {"torch": "2"}, "device": "cpu"}


def unit(identity: str, *parents: str) -> Planned:
    """A unit that reads those of the parents' identities."""
    return Planned(identity, "play", f"key of {identity}", {"n": 3}, 7, parents)


def plan(record: Record, *units: Planned, study: str = "demo") -> int:
    """Plans them for the study; the study."""
    with record.session() as session:
        study_id = current_study(session, name=study, title="", config={}).id
        leases.enqueue(session, study_id, units)
    return study_id


def claim(record: Record, study_id: int, owner: str = "me", *, lease: float = leases.LEASE) -> Claim | None:
    """The next unit, in a transaction of its own."""
    with record.session() as session:
        return leases.claim(session, study_id, owner, lease=lease, provenance=PROVENANCE)


def claimed(record: Record, study_id: int, owner: str = "me") -> Claim:
    """The next unit, which there must be."""
    held = claim(record, study_id, owner)
    assert held is not None
    return held


def publish(record: Record, held: Claim) -> None:
    """Marks it done and inserts a row that names the owner and the attempt."""
    with record.session() as session:
        insert(session, held)
        leases.publish(session, held)


def insert(session: Session, held: Claim) -> None:
    """Another row of a unit's result. Before the fence: so what the fence refuses must be rolled back."""
    blobs = session.info["blobs"]
    record_artifact(session, held.job_id, f"{mark(held)}/{uuid4().hex}", blobs.put_bytes(b"result", "bin"))
    session.flush()


def mark(held: Claim) -> str:
    """What the names of `insert`'s rows begin with."""
    return f"{held.owner}/{held.attempt}"


def published(record: Record, identity: str) -> list[str]:
    """Marks of the rows of a unit's results."""
    sql = "SELECT name FROM artifact JOIN job ON job.id = job_id WHERE identity = :identity ORDER BY name"
    return [name.rpartition("/")[0] for name in record.query(sql, {"identity": identity}).name]


def job(record: Record, identity: str) -> Job:
    """The unit's row in the ledger."""
    with record.session(read_only=True) as session:
        return session.scalars(select(Job).where(Job.identity == identity)).one()


def states(record: Record) -> dict[str, str]:
    """Of each unit, in the order of planning."""
    with record.session(read_only=True) as session:
        return {
            identity: state for identity, state in session.execute(select(Job.identity, Job.state).order_by(Job.id))
        }


def let_expire(record: Record, held: Claim) -> None:
    """Moves the end of a lease into the past, as if its time had gone by."""
    with record.session() as session:
        session.execute(update(Job).where(Job.id == held.job_id).values(lease_until=clock(-1.0)))
