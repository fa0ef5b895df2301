"""Repair of the record: delete leavings, forget jobs of no study and what was computed from damaged blobs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from sqlalchemy import delete, select

from jobs.cli.checks_record import UNCLAIMED, held, unfinished_files
from tdlens.errors import UserError
from tdlens.fsck import MAKERS, check_blobs
from tdlens.garbage import collect
from tdlens.record import Job, JobParent, Record
from tdlens.rows import rows
from tdlens.settings import Settings


def repair_record(settings: Settings) -> Iterator[str]:
    """Do it, and say what was done.

    Raises:
        UserError: a run is active, whose files can't be told from leavings.
    """
    record = Record.open(settings)
    try:
        active = held(record)
        if active:
            raise UserError(f"{active[0]} is being computed.", "Wait until no run is active, then repair.")
        damaged = {found.sha256: found for found in check_blobs(record, full=True) if found.damage}
        unclaimed = {job.id for job in rows(record.query(UNCLAIMED))}
        made = record.query(MAKERS)
        yield from _forget(record, unclaimed | {row.id for row in rows(made) if row.blob in damaged})
        for found in damaged.values():
            record.blobs.delete(found.sha256, found.suffix)
        garbage = collect(record, grace=0.0)
        for file in garbage.files:
            yield f"deleted {record.blobs.address(file.sha256, file.suffix)}"
        for path in [*garbage.unfinished, *unfinished_files(record)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            yield f"deleted {path}"
    finally:
        record.close()


def _forget(record: Record, jobs: set[int]) -> list[str]:
    """Delete jobs with their rows, after everything computed from them."""
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
    return forgotten
