"""Deleting what nothing names: blobs without a row, rows of blobs that nothing refers to, unfinished files, trainings
that were given up.

And, if asked to, the results that only earlier revisions of studies asked for.
"""

import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, func, or_, select, text, union
from sqlalchemy.orm import Session

from tdlens.blobs import BlobStore, StoredFile
from tdlens.maintenance import alone
from tdlens.record import (
    ActivationShard,
    Artifact,
    Blob,
    ConceptSignal,
    ConceptVector,
    Coverage,
    Job,
    JobParent,
    Record,
    SaeCheckpoint,
    Study,
    StudyJob,
)
from tdlens.record.leases import clock
from tdlens.record.partitions import lock_for_deletion
from tdlens.remote_blobs import RemoteBlobStore

COARSE = 2.0
"""Seconds by which an object store may round the moment of a file."""
TOGETHER = 20
"""Jobs that are forgotten in one transaction."""
NAMING = (Artifact.blob, ActivationShard.blob, SaeCheckpoint.blob, Coverage.blob, ConceptVector.blob)
"""Columns that name a blob."""


@dataclass
class Garbage:
    """What was found, and is gone unless it was only looked for."""

    jobs: list[str] = field(default_factory=list)
    """Units whose results no current revision asks for."""
    rows: list[str] = field(default_factory=list)
    """Hashes of blobs that no row names any more."""
    files: list[StoredFile] = field(default_factory=list)
    unfinished: list[Path] = field(default_factory=list)
    """Files, and folders of trainings."""
    copies: list[Path] = field(default_factory=list)
    """Local copies of remote blobs."""
    kept: int = 0
    """Orphans that are too young, or that a unit in progress may be about to name."""
    bytes: int = 0
    """Space that the files take, or took."""


def collect(record: Record, *, grace: float, old_revisions: bool = False, dry_run: bool = False) -> Garbage:
    """Deletes garbage that is older than `grace` seconds and than every unit in progress.

    A unit publishes its files first and its rows later, so a file that is younger than the oldest live lease may be
    about to be named. While files are deleted no blob's row can be inserted, and whoever inserts one looks
    afterwards whether its file is still there: so no row is ever left without its file.

    Args:
        old_revisions: also forget what only earlier revisions of studies asked for, unless it is being computed.

    Raises:
        UserError: the record is being backed up or cleaned by somebody else.
    """
    found = Garbage()
    with alone(record):
        # before the ages are asked for: what is published meanwhile must look younger, not older
        now, now_here = record.blobs.clock(), BlobStore(record.blobs.root).clock()
        if old_revisions and not dry_run:
            found.jobs = _forget_old(record)
        with record.session() as session, session.begin_nested() as changes:
            if old_revisions and dry_run:
                found.jobs = forget(session, _old(session))
            if session.get_bind().dialect.name == "postgresql":
                # Waits for everybody who names a blob at this moment.
                session.execute(text("LOCK TABLE blob IN EXCLUSIVE MODE"))
            age = _age(session, grace)
            named = union(*(select(column).where(column.is_not(None)) for column in NAMING))
            unnamed = select(Blob.sha256).where(Blob.sha256.not_in(named)).order_by(Blob.sha256)
            found.rows = list(session.scalars(unnamed))
            session.execute(delete(Blob).where(Blob.sha256.in_(found.rows)))
            if dry_run:
                changes.rollback()
        with record.session() as session:
            if session.get_bind().dialect.name == "postgresql":
                session.execute(text("LOCK TABLE blob IN SHARE ROW EXCLUSIVE MODE"))
            known = set(session.scalars(select(Blob.sha256))) - set(found.rows if dry_run else ())
            for file in record.blobs.orphans(known):
                if file.modified > now - age:
                    found.kept += 1
                    continue
                found.files.append(file)
                found.bytes += file.bytes
                if not dry_run:
                    record.blobs.delete(file.sha256, file.suffix)
        for path in record.blobs.unfinished(older_than=age):
            with suppress(FileNotFoundError):
                found.bytes += path.stat().st_size
                found.unfinished.append(path)
                if not dry_run:
                    path.unlink()
        with record.session(read_only=True) as session:
            given_up = _given_up(record, session, now_here - age)
        for path in given_up:
            found.bytes += sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            found.unfinished.append(path)
            if not dry_run:
                shutil.rmtree(path, ignore_errors=True)
        for path in _copies(record, now_here - age):
            found.copies.append(path)
            found.bytes += path.stat().st_size
            if not dry_run:
                path.unlink(missing_ok=True)
    return found


def _forget_old(record: Record) -> list[str]:
    """Deletes what `_old` finds in small transactions: each partition that is dropped takes locks until the end."""
    gone: list[str] = []
    while True:
        with record.session() as session:
            ids = _old(session)[:TOGETHER]
            if not ids:
                return gone
            gone += forget(session, ids)


def _old(session: Session) -> list[int]:
    """Jobs of earlier revisions and of no study, children first, unless what is computed or kept needs them."""
    if session.get_bind().dialect.name == "postgresql":
        # A study may be planned at this moment, with results that are about to go.
        session.execute(text("LOCK TABLE study_job IN SHARE ROW EXCLUSIVE MODE"))
    computed = select(StudyJob.study_id).join(Job, Job.id == StudyJob.job_id).where(Job.state == "leased")
    studies = select(Study.id).where(or_(Study.is_current, Study.id.in_(computed)))
    kept = select(StudyJob.job_id).where(StudyJob.study_id.in_(studies))
    # autoencoders of other studies, which concept vectors are compared with
    read = select(SaeCheckpoint.job_id).join(ConceptSignal, ConceptSignal.sae_id == SaeCheckpoint.id)
    read = read.where(ConceptSignal.job_id.in_(kept))
    needed = select(Job.id).where(or_(Job.state == "leased", Job.id.in_(read))).cte(recursive=True)
    needed = needed.union(select(JobParent.parent_id).join(needed, needed.c.id == JobParent.job_id))
    old = select(Job.id).where(Job.id.not_in(kept), Job.id.not_in(select(needed.c.id)))
    return list(session.scalars(old.order_by(Job.id.desc())))  # parents were there first


def forget(session: Session, ids: list[int]) -> list[str]:
    """Deletes the jobs, children first, with the rows that they made; gives their names."""
    lock_for_deletion(session)
    names = {
        job.id: f"{job.stage} {job.key}"
        for job in session.execute(select(Job.id, Job.stage, Job.key).where(Job.id.in_(ids)))
    }
    for job_id in ids:
        session.execute(delete(Job).where(Job.id == job_id))
    return [names[job_id] for job_id in ids]


def _age(session: Session, grace: float) -> float:
    """Seconds after which a file may go. A span: database and files are dated by clocks that may differ."""
    live = (Job.state == "leased", Job.lease_until > clock(0.0))
    oldest = session.scalar(select(func.min(Job.started_at)).where(*live))
    if oldest is None:
        return grace
    now: datetime = session.scalars(select(clock(0.0))).one()
    return max(grace, (now - oldest).total_seconds() + COARSE)


def _given_up(record: Record, session: Session, horizon: float) -> list[Path]:
    """Folders of trainings that are in the record, or that no unit stands for any more, untouched since then."""
    wanted = set(session.scalars(select(Job.identity).where(Job.state != "done")))
    folders = [path for path in sorted(record.settings.trainings.glob("*")) if path.name not in wanted]
    return [
        folder for folder in folders if max(path.stat().st_mtime for path in (folder, *folder.rglob("*"))) <= horizon
    ]


def _copies(record: Record, horizon: float) -> list[Path]:
    if not isinstance(record.blobs, RemoteBlobStore):
        return []
    copies = (record.blobs.root / "sha256").glob("??/*")
    return sorted(path for path in copies if path.stat().st_mtime < horizon)
