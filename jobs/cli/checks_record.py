"""Checks of the record: schema, jobs, blobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from jobs.cli.checks import Check
from jobs.owner import lose_dead
from tdlens.errors import UserError
from tdlens.fsck import Finding, check_blobs, makers
from tdlens.record import Record, leases
from tdlens.record.migrate import check, current_revision
from tdlens.rows import rows
from tdlens.settings import Settings

UNCLAIMED = "SELECT id, stage, key FROM job WHERE id NOT IN (SELECT job_id FROM study_job) ORDER BY id"
"""Jobs that no revision of any study asks for."""


HELD = """
SELECT id, stage, key, owner, lease_until FROM job WHERE state = 'leased' ORDER BY id
"""
FAILED = "SELECT id, stage, key, error FROM job WHERE state = 'failed' ORDER BY id"


def check_record(settings: Settings, *, full: bool) -> Iterator[Check]:
    """The database first; without it nothing more can be said."""
    database = _database(settings)
    yield database
    if database.state == "fail" or database.finding.endswith("no record yet"):
        return
    record = Record.open(settings)
    try:
        active = held(record)
        yield _leased(active, record.query("SELECT id, stage, key, error FROM job WHERE state = 'lost' ORDER BY id"))
        yield _failed(record.query(FAILED))
        yield _unclaimed(record.query(UNCLAIMED))
        found = list(check_blobs(record, full=full))
        n = int(record.query("SELECT count(*) AS n FROM blob").n.item())
        yield _leavings(record, found, n)
        yield _damaged(record, [finding for finding in found if finding.damage], n, full=full)
    finally:
        record.close()


def held(record: Record) -> list[str]:
    """Units that somebody computes now, for people."""
    with record.session() as session:
        lose_dead(session)
        leases.reap(session)
    return [f"{job.stage} {job.key} (job {job.id}, {job.owner})" for job in rows(record.query(HELD))]


def _database(settings: Settings) -> Check:
    try:
        if current_revision(settings) is None:
            return Check("database", "ok", f"{settings.database}: no record yet")
        return Check("database", "ok", f"{settings.database}: schema {check(settings)}")
    except UserError as error:
        return Check("database", "fail", error.message, error.remedy)


def _leased(active: list[str], lost: pd.DataFrame) -> Check:
    finding = f"{len(active)} being computed, {len(lost)} left by processes that are gone"
    if lost.empty:
        return Check("units in progress", "ok", finding, "", tuple(active))
    remedy = "Nothing is lost: any worker takes them up, or run their study again."
    details = tuple(f"{job.stage} {job.key} (job {job.id}): {job.error}" for job in rows(lost))
    return Check("units in progress", "warn", finding, remedy, details)


def _failed(failed: pd.DataFrame) -> Check:
    if failed.empty:
        return Check("failed jobs", "ok", "none")
    details = tuple(
        f"{job.stage} {job.key} (job {job.id}): {' '.join((job.error or '').split())}" for job in rows(failed)
    )
    remedy = "Put right what each names and run its study again; a job of an abandoned setting may stay."
    return Check("failed jobs", "warn", str(len(failed)), remedy, details)


def _unclaimed(jobs: pd.DataFrame) -> Check:
    if jobs.empty:
        return Check("jobs of no study", "ok", "none")
    remedy = "Results of weights or code since replaced, which no view shows; tdlens doctor --repair forgets them."
    details = tuple(f"{job.stage} {job.key} (job {job.id})" for job in rows(jobs))
    return Check("jobs of no study", "warn", str(len(jobs)), remedy, details)


def _leavings(record: Record, found: list[Finding], n: int) -> Check:
    orphans = [finding.text for finding in found if finding.kind == "orphan"]
    unfinished = [str(path) for path in (*record.blobs.unfinished(older_than=0.0), *unfinished_files(record))]
    if not orphans and not unfinished:
        return Check("leavings", "ok", f"none beside {n} blobs")
    finding = f"{len(orphans)} blobs without a row, {len(unfinished)} unfinished files"
    remedy = "Harmless leavings of killed runs, or files of a unit in progress; tdlens gc deletes the old ones."
    return Check("leavings", "warn", finding, remedy, tuple([*orphans, *unfinished]))


def unfinished_files(record: Record) -> list[Path]:
    """MLflow databases that were begun and never published."""
    return sorted(record.settings.home.glob("mlflow-new-*"))


def _damaged(record: Record, damaged: list[Finding], n: int, *, full: bool) -> Check:
    compared = "checksums and shapes" if full else "sizes; --full compares checksums and shapes"
    if not damaged:
        return Check("blobs", "ok", f"{n} files as recorded ({compared})")
    names = makers(record)
    details = tuple(f"{one.text} (made by {names.get(one.sha256, 'no job')})" for one in damaged)
    remedy = (
        "Restore them from a backup, or run tdlens doctor --repair, which forgets what was computed from "
        "them, and then their study, which computes it again."
    )
    return Check("blobs", "fail", f"{len(damaged)} of {n} damaged ({compared})", remedy, details)
