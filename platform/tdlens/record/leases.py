"""Who computes what: units are claimed, held by a lease, and published only by whoever holds them.

All moments are the database's: a worker whose clock is wrong neither loses a unit nor keeps one. A claim raises the
unit's attempt, and every later word about the unit must name (unit, attempt, owner). So a worker that was given up for
dead is refused once its unit was given away, and may still publish if nobody took it.

Every function works in the session's transaction; SQLite's is alone, PostgreSQL's skips units that another locks. What
is said for every unit is put together once, at import: SQLAlchemy takes longer for that than a database to answer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from tdlens.errors import UserError
from tdlens.record.base import UtcDateTime
from tdlens.record.ledger import Job, JobParent, StudyJob

LEASE = 60.0
"""Seconds after which a unit whose worker gives no sign counts as lost; several heartbeats long."""
ERROR_LENGTH = 2000
"""Characters of an error that are kept."""


MOST_ATTEMPTS = 25
"""A unit that is lost in so many attempts counts as failed: it may be what kills whoever computes it."""


class Superseded(UserError):
    """The unit was given to another worker meanwhile, or forgotten; what this one computed is dropped."""


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


assert isinstance(Job.__table__, Table)
_JOB = Job.__table__

_parent = _JOB.alias("parent")
# OFFSET 0 keeps PostgreSQL from joining all units with all parents: the first that is free is wanted, and is near.
_WAITS = exists(
    select(JobParent.parent_id)
    .join(_parent, _parent.c.id == JobParent.parent_id)
    .where(JobParent.job_id == _JOB.c.id, _parent.c.state != "done")
    .offset(0)
)
_MINE = exists(
    select(StudyJob.job_id).where(StudyJob.job_id == _JOB.c.id, StudyJob.study_id == bindparam("study")).offset(0)
)
_EXPIRED = and_(_JOB.c.state == "leased", _JOB.c.lease_until < clock(0.0))


def _first(state: str) -> Select[Any]:
    """The first unit in a state that can be claimed; one state each, so that the index on it gives them in order."""
    found = select(_JOB.c.id).where(_JOB.c.state == state, _MINE, ~_WAITS).order_by(_JOB.c.id).limit(1)
    return select(found.with_for_update(of=_JOB, skip_locked=True).subquery(state).c.id)


# One that is locked is being published, renewed or reaped at this moment: nobody waits for that.
_late = select(_JOB.c.id).where(_EXPIRED).order_by(_JOB.c.id).with_for_update(skip_locked=True)
_again = _JOB.c.attempt < MOST_ATTEMPTS
_GONE = {
    "state": case((_again, "lost"), else_="failed"),
    "finished_at": case((_again, None), else_=clock(0.0)),
    "lease_until": None,
}
_REAP = update(_JOB).where(_JOB.c.id.in_(_late)).values(_GONE | {"error": "its worker gave no sign of life"})


@cache
def _claim(provenance: tuple[str, ...]) -> Any:
    first = union_all(_first("lost"), _first("pending")).subquery("first")
    taken = update(_JOB).where(_JOB.c.id == select(func.min(first.c.id)).scalar_subquery())
    times = {"lease_until": clock(bindparam("seconds")), "started_at": clock(0.0), "finished_at": None}
    about: dict[str, Any] = {name: bindparam(name) for name in provenance}
    who = {"state": "leased", "attempt": _JOB.c.attempt + 1, "owner": bindparam("by"), "error": None}
    return taken.values(who | times | about).returning(_JOB.c.id, _JOB.c.identity, _JOB.c.attempt)


_SAME = and_(_JOB.c.id == bindparam("held"), _JOB.c.attempt == bindparam("number"), _JOB.c.owner == bindparam("by"))
_STATE = select(_JOB.c.state).where(_SAME)
_held = update(_JOB).where(_SAME, _JOB.c.state.in_(("leased", "lost")))
# One that is locked is being published by this very worker, whose supervisor mustn't wait for that.
_mine = select(_JOB.c.id).where(_SAME, _JOB.c.state.in_(("leased", "lost"))).with_for_update(skip_locked=True)
_RENEW = (
    update(_JOB).where(_JOB.c.id.in_(_mine)).values(state="leased", lease_until=clock(bindparam("seconds")), error=None)
)
_PUBLISH = _held.values(state="done", lease_until=None, finished_at=clock(0.0), error=None)
_RELEASE = _held.values(state="pending", owner=None, lease_until=None)
_FAIL = _held.values(state="failed", lease_until=None, finished_at=clock(0.0), error=bindparam("why"))
_LOSE = _held.values(_GONE | {"error": bindparam("why")})
_FAILED = _JOB.c.state == "failed"
_RETRY = update(_JOB).where(_FAILED).values(state="pending", owner=None, finished_at=None)


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

    Units that another study or an earlier run made keep their state, but what had failed when the study first asks for
    it is put back in line. What the plan no longer asks for is taken out of
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
    asked = set(known.values())
    held = set(session.scalars(select(StudyJob.job_id).where(StudyJob.study_id == study_id)))
    if fresh := sorted(asked - held):
        rows = [{"study_id": study_id, "job_id": job_id} for job_id in fresh]
        session.execute(insert(StudyJob).on_conflict_do_nothing(), rows)
        failed = session.scalars(select(StudyJob.job_id).join(Job).where(StudyJob.study_id == study_id, _FAILED))
        session.execute(_RETRY.where(_JOB.c.id.in_(set(failed).intersection(fresh))))
    for job_id in held - asked:
        session.execute(delete(StudyJob).where(StudyJob.study_id == study_id, StudyJob.job_id == job_id))
    return known


def retry_failed(session: Session, study_id: int) -> int:
    """Puts a study's failed units back in line; how many there were."""
    mine = select(StudyJob.job_id).where(StudyJob.study_id == study_id)
    return _changed(session, _RETRY.where(_JOB.c.id.in_(mine)))


def reap(session: Session) -> int:
    """Declares units whose lease has run out lost; how many there were."""
    return _changed(session, _REAP)


def claim(
    session: Session, study_id: int, owner: str, *, lease: float = LEASE, provenance: Mapping[str, Any]
) -> Claim | None:
    """Takes the study's first unit that is pending or lost and whose parents are done, or gives None.

    Args:
        owner: the process that will compute it.
        lease: seconds until it counts as lost, unless renewed.
        provenance: git_commit, git_dirty, versions and device of that process.
    """
    if session.get_bind().dialect.name == "postgresql":
        # A claim that dies with the server costs one computation, as its unit is free again: no wait for the disk.
        session.execute(text("SET LOCAL synchronous_commit = off"))
    reap(session)
    taken = session.execute(
        _claim(tuple(provenance)), {"study": study_id, "by": owner, "seconds": lease, **provenance}
    ).first()
    return None if taken is None else Claim(taken.id, taken.identity, taken.attempt, owner)


def claimable() -> ColumnElement[bool]:
    """Of a row of `job`: nobody has it, or its lease has run out, and all that it reads is done."""
    return and_(or_(_JOB.c.state.in_(("pending", "lost")), _EXPIRED), ~_WAITS)


_UNSETTLED = select(_JOB.c.id).where(_MINE, or_(_JOB.c.state == "leased", claimable())).limit(1)


def unsettled(session: Session, study_id: int) -> bool:
    """Whether somebody computes a unit of the study, or could: what else is open waits for units that failed."""
    return session.scalar(_UNSETTLED, {"study": study_id}) is not None


def renew(session: Session, held: Claim, *, lease: float = LEASE) -> bool:
    """Holds a unit for another `lease` seconds, also one that was declared lost but that nobody took.

    Returns:
        False if it is gone, or being published at this moment.
    """
    return _change_held(session, _RENEW, held, seconds=lease)


def publish(session: Session, held: Claim) -> None:
    """Marks the unit done: the fence of the transaction that inserts its rows.

    Raises:
        Superseded: it was given to another worker; the transaction must be rolled back.
    """
    if not _change_held(session, _PUBLISH, held):
        raise Superseded(
            f"Unit {held.job_id} was given to another worker meanwhile, or forgotten; this result is dropped.",
            "Nothing is lost: the other worker's result counts.",
        )


def published(session: Session, held: Claim) -> bool:
    """Whether this very attempt was published: asked when a commit's answer was lost with the connection."""
    return session.scalar(_STATE, _named(held)) == "done"


def release(session: Session, held: Claim) -> bool:
    """Gives an unfinished unit back; False if it was somebody else's already."""
    return _change_held(session, _RELEASE, held)


def fail(session: Session, held: Claim, error: str) -> bool:
    """Records that the unit's code raised; a later `tdlens run` tries again."""
    return _change_held(session, _FAIL, held, why=error[:ERROR_LENGTH])


def lose(session: Session, held: Claim, error: str) -> bool:
    """Records that the unit's process is gone, so that others needn't wait for the lease to run out."""
    return _change_held(session, _LOSE, held, why=error[:ERROR_LENGTH])


def _named(held: Claim) -> dict[str, Any]:
    return {"held": held.job_id, "number": held.attempt, "by": held.owner}


def _change_held(session: Session, statement: Update, held: Claim, **values: Any) -> bool:
    return _changed(session, statement, **_named(held), **values) == 1


def _changed(session: Session, statement: Update, **values: Any) -> int:
    return int(session.execute(statement, values).rowcount)  # type: ignore[attr-defined]


def _ids(session: Session, identities: Iterable[str]) -> dict[str, int]:
    """The job of each identity that has one, in the order given."""
    wanted = list(identities)
    query = select(Job.identity, Job.id)
    found: dict[str, int] = {}
    for start in range(0, len(wanted), 500):  # SQLite's statements take so many parameters
        part = wanted[start : start + 500]
        found |= {identity: job_id for identity, job_id in session.execute(query.where(Job.identity.in_(part)))}
    return {identity: found[identity] for identity in wanted if identity in found}
