"""Repair of the record: delete leavings, forget jobs of no study and what was computed from damaged blobs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.cli.checks_record import UNCLAIMED, held, unfinished_files
from tdlens.errors import UserError
from tdlens.fsck import MAKERS, check_blobs
from tdlens.garbage import collect, forget
from tdlens.record import JobParent, Record
from tdlens.rows import rows
from tdlens.settings import Settings


def repair_record(settings: Settings) -> Iterator[str]:
    """Do it, and say what was done.

    Raises:
        UserError: a run is active, whose files can't be told from leavings.
    """
    record = Record.open(settings)
    try:
        _refuse_active(record)
        damaged = {found.sha256 for found in check_blobs(record, full=True) if found.damage}
        _refuse_active(record)  # that may have taken hours
        unclaimed = {job.id for job in rows(record.query(UNCLAIMED))}
        makers = {row.id for row in rows(record.query(MAKERS)) if row.blob in damaged}
        with record.session() as session:
            # a job's number is higher than its parents'
            gone = forget(session, sorted(_with_children(session, unclaimed | makers), reverse=True))
        yield from (f"forgot {name}" for name in gone)
        garbage = collect(record, grace=0.0)  # the damaged files among it, which nothing names now
        for file in garbage.files:
            yield f"deleted {record.blobs.address(file.sha256, file.suffix)}"
        for path in (*garbage.unfinished, *unfinished_files(record)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            yield f"deleted {path}"
    finally:
        record.close()


def _refuse_active(record: Record) -> None:
    active = held(record)
    if active:
        raise UserError(f"{active[0]} is being computed.", "Wait until no run is active, then repair.")


def _with_children(session: Session, jobs: set[int]) -> set[int]:
    """The jobs, and everything that was computed from them."""
    children: dict[int, list[int]] = {}
    for child, parent in session.execute(select(JobParent.job_id, JobParent.parent_id)):
        children.setdefault(parent, []).append(child)
    found: set[int] = set()
    todo = list(jobs)
    while todo:
        job = todo.pop()
        if job not in found:
            found.add(job)
            todo += children.get(job, [])
    return found
