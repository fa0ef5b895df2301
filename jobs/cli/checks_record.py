"""Checks of the record: schema, jobs, blobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from jobs.cli.checks import Check
from jobs.owner import alive
from tdlens.blobs import BlobStore
from tdlens.errors import CorruptBlob, MissingBlob, UserError
from tdlens.record.migrate import check, current_revision
from tdlens.record.query import query
from tdlens.rows import rows
from tdlens.settings import Settings

MAKERS = """
SELECT artifact.blob AS blob, job.id AS id, stage, key FROM artifact JOIN job ON job.id = artifact.job_id
UNION SELECT sae_checkpoint.blob, job.id, stage, key
FROM sae_checkpoint JOIN job ON job.id = sae_checkpoint.job_id
UNION SELECT activation_shard.blob, job.id, stage, key
FROM activation_shard JOIN capture ON capture.id = activation_shard.capture_id
JOIN job ON job.id = capture.job_id
"""
"""Which jobs made each blob."""
UNCLAIMED = "SELECT id, stage, key FROM job WHERE id NOT IN (SELECT job_id FROM study_job) ORDER BY id"
"""Jobs that no revision of any study asks for."""


def check_record(settings: Settings, *, full: bool) -> Iterator[Check]:
    """The database first; without it nothing more can be said."""
    database = _database(settings)
    yield database
    if database.state == "fail" or database.finding.endswith("no record yet"):
        return
    jobs = query(settings, "SELECT id, stage, key, state, owner, error FROM job ORDER BY id")
    running = jobs[jobs.state == "running"]
    lives = running[[alive(owner) for owner in running.owner]]
    yield _left_running(running.drop(lives.index), len(lives))
    yield _failed(jobs[jobs.state == "failed"])
    store = BlobStore(settings.blobs)
    blobs = query(settings, "SELECT sha256, suffix, bytes FROM blob ORDER BY sha256")
    yield _unclaimed(query(settings, UNCLAIMED))
    yield _leavings(settings, store, blobs, active=len(lives) > 0)
    yield _damaged(settings, store, blobs, full=full)


def _database(settings: Settings) -> Check:
    try:
        if current_revision(settings) is None:
            return Check("database", "ok", f"{settings.database}: no record yet")
        return Check("database", "ok", f"{settings.database}: schema {check(settings)}")
    except UserError as error:
        return Check("database", "fail", error.message, error.remedy)


def _left_running(dead: pd.DataFrame, active: int) -> Check:
    finding = f"{active} being computed, {len(dead)} left by processes that are gone"
    if dead.empty:
        return Check("running jobs", "ok", finding)
    remedy = "Nothing is lost: run their study again, it takes them up."
    details = tuple(f"{job.stage} {job.key} (job {job.id}, {job.owner})" for job in rows(dead))
    return Check("running jobs", "warn", finding, remedy, details)


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


def _leavings(settings: Settings, store: BlobStore, blobs: pd.DataFrame, *, active: bool) -> Check:
    orphans, unfinished = leavings(settings, store, blobs, active=active)
    if not orphans and not unfinished:
        return Check("leavings", "ok", f"none beside {len(blobs)} blobs")
    size = sum(path.stat().st_size for path in orphans + unfinished if path.is_file())
    finding = f"{len(orphans)} blobs without a row, {len(unfinished)} unfinished files, {size / 1e6:.1f} MB"
    remedy = "Harmless leavings of killed runs; tdlens doctor --repair deletes them."
    return Check("leavings", "warn", finding, remedy, tuple(map(str, [*orphans, *unfinished])))


def leavings(
    settings: Settings, store: BlobStore, blobs: pd.DataFrame, *, active: bool
) -> tuple[list[Path], list[Path]]:
    """Blobs without a row and unfinished files; what an active run may be writing just now is no leaving."""
    if active:
        return [], store.unfinished()
    return store.orphans(blobs.sha256), [
        *store.unfinished(older_than=0.0),
        *sorted(settings.home.glob("mlflow-new-*")),
    ]


def _damaged(settings: Settings, store: BlobStore, blobs: pd.DataFrame, *, full: bool) -> Check:
    damaged = damaged_blobs(store, blobs, full=full)
    compared = "checksums" if full else "sizes; --full compares checksums"
    if not damaged:
        return Check("blobs", "ok", f"{len(blobs)} files as recorded ({compared})")
    makers = query(settings, MAKERS)
    names = {row.blob: f"{row.stage} {row.key}, job {row.id}" for row in rows(makers)}
    details = tuple(f"{text} (made by {names.get(sha256, 'no job')})" for sha256, text in damaged.items())
    remedy = (
        "Restore them from a backup, or run tdlens doctor --repair, which forgets what was computed from "
        "them, and then their study, which computes it again."
    )
    return Check("blobs", "fail", f"{len(damaged)} of {len(blobs)} damaged ({compared})", remedy, details)


def damaged_blobs(store: BlobStore, blobs: pd.DataFrame, *, full: bool) -> dict[str, str]:
    """What is wrong with each blob that isn't as recorded; only ``full`` reads their content."""
    damaged: dict[str, str] = {}
    for blob in rows(blobs):
        path = store.path(blob.sha256, blob.suffix)
        if not path.is_file():
            damaged[blob.sha256] = f"{path} is missing"
        elif path.stat().st_size != blob.bytes:
            damaged[blob.sha256] = f"{path} has {path.stat().st_size} bytes instead of {blob.bytes}"
        elif full:
            try:
                store.verified(blob.sha256, blob.suffix)
            except (CorruptBlob, MissingBlob) as error:
                damaged[blob.sha256] = error.message
    return damaged
