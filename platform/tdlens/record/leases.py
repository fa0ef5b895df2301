"""Who computes what: units are claimed, held by a lease, and published only by whoever holds them.

All moments are the database's: a worker whose clock is wrong neither loses a unit nor keeps one. A claim raises the
unit's attempt, and every later word about the unit must name (unit, attempt, owner). So a worker that was given up for
dead is refused once its unit was given away, and may still publish if nobody took it.

Every function works in the session's transaction; SQLite's is alone, PostgreSQL's skips units that another locks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from tdlens.errors import UserError
from tdlens.record.base import UtcDateTime
from tdlens.record.ledger import Job, JobParent, StudyJob

LEASE = 60.0
"""Seconds after which a unit whose worker gives no sign counts as lost; several heartbeats long."""
ERROR_LENGTH = 2000
"""Characters of an error that are kept."""


class Superseded(UserError):
    """The unit was given to another worker meanwhile; what this one computed is dropped."""


class clock(GenericFunction[Any]):
    """The database's clock, some seconds from now."""

    type = UtcDateTime()
    inherit_cache = True
    name = "tdlens_clock"


@compiles(clock, "postgresql")
def _clock_postgresql(element: clock, compiler: SQLCompiler, **options: Any) -> str:
    # Not now(), which is when the transaction began: it may have waited for a lock since.
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **options)}))"


@compiles(clock, "sqlite")
def _clock_sqlite(element: clock, compiler: SQLCompiler, **options: Any) -> str:
    # Written as SQLAlchemy writes a moment there, so that the two compare as text.
    seconds = compiler.process(element.clauses, **options)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', ({seconds}) || ' seconds') || '000')"


@dataclass(frozen=True)
class Planned:
    """A unit as its study's plan describes it."""

    identity: str
    stage: str
    key: str
    config: Mapping[str, Any]
    seed: int
    parents: tuple[str, ...]
    """Identities of the units whose rows it reads."""


@dataclass(frozen=True)
class Claim:
    """A unit in somebody's hands."""

    job_id: int
    identity: str
    attempt: int
    owner: str


def enqueue(session: Session, study_id: int, plan: Sequence[Planned]) -> dict[str, int]:
    """Makes the ledger hold exactly the plan's units for the study, parents before children.

    Units that another study or an earlier run made keep their state. What the plan no longer asks for is taken out of
    the study (its rows stay, for whoever asks again), so that views never show two results side by side.

    Returns:
        The job of each unit, by identity.
    """
    if session.get_bind().dialect.name == "postgresql":
        # Two planners at once would insert the same identities in turn and wait for each other.
        session.execute(text("LOCK TABLE study_job IN SHARE ROW EXCLUSIVE MODE"))
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    known = _ids(session, [unit.identity for unit in plan])
    new = [
        {"identity": unit.identity, "stage": unit.stage, "key": unit.key, "config": dict(unit.config)}
        | {"seed": unit.seed, "state": "pending", "attempt": 0}
        for unit in plan
        if unit.identity not in known
    ]
    if new:
        session.execute(insert(Job).on_conflict_do_nothing(), new)
        known = _ids(session, [unit.identity for unit in plan])
    parents = [
        {"job_id": known[unit.identity], "parent_id": known[parent]}
        for unit in plan
        for parent in dict.fromkeys(unit.parents)
    ]
    if parents:
        session.execute(insert(JobParent).on_conflict_do_nothing(), parents)
    rows = [{"study_id": study_id, "job_id": job_id} for job_id in known.values()]
    if rows:
        session.execute(insert(StudyJob).on_conflict_do_nothing(), rows)
    asked = set(known.values())
    held = set(session.scalars(select(StudyJob.job_id).where(StudyJob.study_id == study_id)))
    for job_id in held - asked:
        session.execute(delete(StudyJob).where(StudyJob.study_id == study_id, StudyJob.job_id == job_id))
    return known


def retry_failed(session: Session, study_id: int) -> int:
    """Puts a study's failed units back in line; how many there were."""
    mine = select(StudyJob.job_id).where(StudyJob.study_id == study_id)
    again = update(Job).where(Job.state == "failed", Job.id.in_(mine))
    return _changed(session, again.values(state="pending", owner=None, finished_at=None))


def reap(session: Session) -> int:
    """Declares units whose lease has run out lost; how many there were."""
    # one that is locked is being published, renewed or reaped at this moment: nobody waits for that
    late = select(Job.id).where(_expired()).order_by(Job.id).with_for_update(skip_locked=True)
    expired = update(Job).where(Job.id.in_(late))
    return _changed(session, expired.values(state="lost", lease_until=None, error="its worker gave no sign of life"))


def claim(
    session: Session, study_id: int, owner: str, *, lease: float = LEASE, provenance: Mapping[str, Any]
) -> Claim | None:
    """Takes the study's first unit that is pending or lost and whose parents are done, or gives None.

    Args:
        owner: the process that will compute it.
        lease: seconds until it counts as lost, unless renewed.
        provenance: git_commit, git_dirty, versions and device of that process.
    """
    reap(session)
    first = (
        select(Job.id, Job.identity, Job.attempt)
        .join(StudyJob, and_(StudyJob.job_id == Job.id, StudyJob.study_id == study_id))
        .where(claimable())
        .order_by(Job.id)
        .limit(1)
        .with_for_update(of=Job, skip_locked=True)
    )
    row = session.execute(first).first()
    if row is None:
        return None
    claimed = Claim(row.id, row.identity, row.attempt + 1, owner)
    session.execute(
        update(Job)
        .where(Job.id == row.id)
        .values(
            state="leased",
            attempt=claimed.attempt,
            owner=owner,
            lease_until=clock(lease),
            started_at=clock(0.0),
            finished_at=None,
            error=None,
            **provenance,
        )
    )
    return claimed


def claimable() -> ColumnElement[bool]:
    """Of a row of `job`: nobody has it, or its lease has run out, and all that it reads is done."""
    parent = aliased(Job)
    waits = exists().where(JobParent.job_id == Job.id, parent.id == JobParent.parent_id, parent.state != "done")
    return and_(or_(Job.state.in_(("pending", "lost")), _expired()), ~waits)


def unsettled(session: Session, study_id: int) -> bool:
    """Whether somebody computes a unit of the study, or could: what else is open waits for units that failed."""
    mine = select(Job.id).join(StudyJob, and_(StudyJob.job_id == Job.id, StudyJob.study_id == study_id))
    return session.scalar(mine.where(or_(Job.state == "leased", claimable())).limit(1)) is not None


def renew(session: Session, held: Claim, *, lease: float = LEASE) -> bool:
    """Holds a unit for another `lease` seconds, also one that was declared lost but that nobody took; False if gone."""
    longer = update(Job).where(_still(held)).values(state="leased", lease_until=clock(lease), error=None)
    return _changed(session, longer) == 1


def publish(session: Session, held: Claim) -> None:
    """Marks the unit done: the fence of the transaction that inserts its rows.

    Raises:
        Superseded: it was given to another worker; the transaction must be rolled back.
    """
    done = update(Job).where(_still(held)).values(state="done", lease_until=None, finished_at=clock(0.0), error=None)
    if _changed(session, done) != 1:
        raise Superseded(
            f"Unit {held.job_id} was given to another worker meanwhile; this result is dropped.",
            "Nothing is lost: the other worker's result counts.",
        )


def published(session: Session, held: Claim) -> bool:
    """Whether this very attempt was published: asked when a commit's answer was lost with the connection."""
    mine = (Job.id == held.job_id, Job.attempt == held.attempt, Job.owner == held.owner)
    return session.scalar(select(Job.state).where(*mine)) == "done"


def release(session: Session, held: Claim) -> bool:
    """Gives an unfinished unit back; False if it was somebody else's already."""
    back = update(Job).where(_still(held)).values(state="pending", owner=None, lease_until=None)
    return _changed(session, back) == 1


def fail(session: Session, held: Claim, error: str) -> bool:
    """Records that the unit's code raised; a later `tdlens run` tries again."""
    values = {"state": "failed", "lease_until": None, "finished_at": clock(0.0), "error": error[:ERROR_LENGTH]}
    return _changed(session, update(Job).where(_still(held)).values(**values)) == 1


def lose(session: Session, held: Claim, error: str) -> bool:
    """Records that the unit's process is gone, so that others needn't wait for the lease to run out."""
    values = {"state": "lost", "lease_until": None, "error": error[:ERROR_LENGTH]}
    return _changed(session, update(Job).where(_still(held)).values(**values)) == 1


def _expired() -> ColumnElement[bool]:
    return and_(Job.state == "leased", Job.lease_until < clock(0.0))


def _still(held: Claim) -> ColumnElement[bool]:
    return and_(
        Job.id == held.job_id,
        Job.attempt == held.attempt,
        Job.owner == held.owner,
        Job.state.in_(("leased", "lost")),
    )


def _changed(session: Session, statement: Any) -> int:
    # The session's own objects may be stale afterwards; nobody keeps them over such a change.
    result = session.execute(statement, execution_options={"synchronize_session": False})
    return int(result.rowcount)  # type: ignore[attr-defined]


def _ids(session: Session, identities: Iterable[str]) -> dict[str, int]:
    """The job of each identity that has one, in the order given."""
    wanted = list(identities)
    query = select(Job.identity, Job.id)
    found: dict[str, int] = {}
    for start in range(0, len(wanted), 500):  # SQLite's statements take so many parameters
        part = wanted[start : start + 500]
        found |= {identity: job_id for identity, job_id in session.execute(query.where(Job.identity.in_(part)))}
    return {identity: found[identity] for identity in wanted if identity in found}
