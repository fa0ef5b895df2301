"""Repair of the record: delete leavings, forget jobs of no study and what was computed from damaged blobs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from sqlalchemy import delete, select, union

from jobs.cli.checks_record import MAKERS, UNCLAIMED, damaged_blobs, leavings
from jobs.owner import alive
from tdlens.errors import UserError
from tdlens.record import ActivationShard, Artifact, Blob, Coverage, Job, JobParent, Record, SaeCheckpoint
from tdlens.rows import rows
from tdlens.settings import Settings

NAMING = (Artifact.blob, ActivationShard.blob, SaeCheckpoint.blob, Coverage.blob)
"""Columns that name a blob."""


def repair_record(settings: Settings) -> Iterator[str]:
    """Do it, and say what was done.

    Raises:
        UserError: a run is active, whose files can't be told from leavings.
    """
    record = Record.open(settings)
    try:
        running = record.query("SELECT stage, key, owner FROM job WHERE state = 'running'")
        for job in rows(running):
            if alive(job.owner):
                raise UserError(
                    f"{job.stage} {job.key} is being computed ({job.owner}).",
                    "Wait until no run is active, then repair.",
                )
        unclaimed = {job.id for job in rows(record.query(UNCLAIMED))}
        blobs = record.query("SELECT sha256, suffix, bytes FROM blob")
        damaged = damaged_blobs(record.blobs, blobs, full=True)
        makers = record.query(MAKERS)
        yield from _forget(record, unclaimed | {row.id for row in rows(makers) if row.blob in damaged})
        for blob in rows(blobs[blobs.sha256.isin(list(damaged))]):
            record.blobs.path(blob.sha256, blob.suffix).unlink(missing_ok=True)
        blobs = record.query("SELECT sha256 FROM blob")
        for path in [path for group in leavings(settings, record.blobs, blobs, active=False) for path in group]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            yield f"deleted {path}"
    finally:
        record.close()


def _forget(record: Record, jobs: set[int]) -> list[str]:
    """Delete jobs with their rows, after everything computed from them; then blobs' rows that nobody names."""
    with record.session() as session:
        children: dict[int, list[int]] = {}
        for child, parent in session.execute(select(JobParent.job_id, JobParent.parent_id)):
            children.setdefault(parent, []).append(child)
        order: dict[int, None] = {}

        def visit(job: int) -> None:
            if job not in order:
                for child in children.get(job, []):
                    visit(child)
                order[job] = None

        for job in sorted(jobs):
            visit(job)
        forgotten = []
        for job in order:
            forgotten += [
                f"forgot {s} {k}" for s, k in session.execute(select(Job.stage, Job.key).where(Job.id == job))
            ]
            session.execute(delete(Job).where(Job.id == job))
        named = union(*(select(column).where(column.is_not(None)) for column in NAMING))
        if order:
            session.execute(delete(Blob).where(Blob.sha256.not_in(named)))
    return forgotten
