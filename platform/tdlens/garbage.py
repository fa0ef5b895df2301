"""Deleting what nothing names: blobs without a row, rows of blobs that nothing refers to, unfinished files."""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, func, select, text, union
from sqlalchemy.orm import Session

from tdlens.blobs import StoredFile
from tdlens.maintenance import alone
from tdlens.record import ActivationShard, Artifact, Blob, Coverage, Job, Record, SaeCheckpoint
from tdlens.record.leases import clock

NAMING = (Artifact.blob, ActivationShard.blob, SaeCheckpoint.blob, Coverage.blob)
"""Columns that name a blob."""


@dataclass
class Garbage:
    """What was found, and is gone unless it was only looked for."""

    rows: list[str] = field(default_factory=list)
    """Hashes of blobs that no row names any more."""
    files: list[StoredFile] = field(default_factory=list)
    unfinished: list[Path] = field(default_factory=list)
    copies: list[Path] = field(default_factory=list)
    """Local copies of remote blobs."""
    kept: int = 0
    """Orphans that are too young, or that a unit in progress may be about to name."""
    bytes: int = 0
    """Space that the files take, or took."""


def collect(record: Record, *, grace: float, dry_run: bool = False) -> Garbage:
    """Deletes garbage that is older than `grace` seconds and than every unit in progress.

    A unit publishes its files first and its rows later, so a file that is younger than the oldest live lease may be
    about to be named. While files are deleted no blob's row can be inserted, and whoever inserts one looks
    afterwards whether its file is still there: so no row is ever left without its file.

    Raises:
        UserError: the record is being backed up or cleaned by somebody else.
    """
    found = Garbage()
    with alone(record):
        with record.session() as session:
            horizon = _horizon(session, grace)
            named = union(*(select(column).where(column.is_not(None)) for column in NAMING))
            unnamed = select(Blob.sha256).where(Blob.sha256.not_in(named)).order_by(Blob.sha256)
            found.rows = list(session.scalars(unnamed))
            if not dry_run:
                session.execute(delete(Blob).where(Blob.sha256.in_(found.rows)))
        with record.session() as session:
            if session.get_bind().dialect.name == "postgresql":
                session.execute(text("LOCK TABLE blob IN SHARE ROW EXCLUSIVE MODE"))
            known = set(session.scalars(select(Blob.sha256))) - set(found.rows)
            for file in record.blobs.orphans(known):
                if file.modified >= horizon:
                    found.kept += 1
                    continue
                found.files.append(file)
                found.bytes += file.bytes
                if not dry_run:
                    record.blobs.delete(file.sha256, file.suffix)
        for path in record.blobs.unfinished(older_than=time.time() - horizon):
            with suppress(FileNotFoundError):
                found.bytes += path.stat().st_size
                found.unfinished.append(path)
                if not dry_run:
                    path.unlink()
        for path in _copies(record, horizon):
            found.copies.append(path)
            found.bytes += path.stat().st_size
            if not dry_run:
                path.unlink(missing_ok=True)
    return found


def _horizon(session: Session, grace: float) -> float:
    """Files older than this moment (seconds since 1970) may go."""
    oldest = _oldest_lease(session)
    horizon = time.time() - grace
    return horizon if oldest is None else min(horizon, oldest.timestamp())


def _oldest_lease(session: Session) -> datetime | None:
    """When the unit that has been computed for longest was begun, or None."""
    live = (Job.state == "leased", Job.lease_until > clock(0.0))
    return session.scalar(select(func.min(Job.started_at)).where(*live))


def _copies(record: Record, horizon: float) -> list[Path]:
    if not record.settings.blobs_url:
        return []
    copies = (record.blobs.root / "sha256").glob("??/*")
    return sorted(path for path in copies if path.stat().st_mtime < horizon)
