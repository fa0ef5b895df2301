"""Who did what: studies, jobs and blobs."""

from datetime import datetime
from typing import Literal

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from tdlens.record.base import Base, BigInt, Json

JobState = Literal["pending", "leased", "done", "failed", "lost"]
Executor = Literal["local", "slurm"]
WorkerState = Literal["starting", "planning", "working", "waiting", "stopping", "stopped"]


class Study(Base):
    """One revision of a study: each change of its configuration makes another. Views show the current one."""

    __tablename__ = "study"
    __table_args__ = (
        UniqueConstraint("name", "revision"),
        UniqueConstraint("name", "config_hash"),
        Index(
            "uq_study_current",
            "name",
            unique=True,
            sqlite_where=text("is_current"),
            postgresql_where=text("is_current"),
        ),
    )

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    name: Mapped[str]
    revision: Mapped[int]
    """1, 2, … within the name."""
    title: Mapped[str]
    config: Mapped[Json]
    config_hash: Mapped[str]
    is_current: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(server_default=text("CURRENT_TIMESTAMP"), init=False)


class Job(Base):
    """One stage's unit of work, and who has it. Its identity (of configuration and parents) is computed once.

    A unit is *pending* until a worker claims it: then it is *leased*, by the database's clock. It ends as *done* or
    *failed* (its code raised), or is *lost* (its worker died, or the lease ran out), and then anybody may claim it.
    """

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'leased', 'done', 'failed', 'lost')", name="state"),
        CheckConstraint("(state IN ('done', 'failed')) = (finished_at IS NOT NULL)", name="finished"),
        CheckConstraint("(state = 'leased') = (lease_until IS NOT NULL)", name="leased"),
        Index(None, "stage"),
        Index(None, "state", "id"),
    )

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    stage: Mapped[str]
    key: Mapped[str]
    """Which unit of the stage, for people: `block=3`."""
    identity: Mapped[str] = mapped_column(unique=True)
    state: Mapped[JobState] = mapped_column(String, default="pending")
    attempt: Mapped[int] = mapped_column(default=0)
    """Raised by each claim; with `owner` it fences publication: a worker given up for dead can't overwrite."""
    owner: Mapped[str | None] = mapped_column(default=None)
    lease_until: Mapped[datetime | None] = mapped_column(default=None)
    """When the unit counts as lost unless its worker shows up before."""
    config: Mapped[Json]
    seed: Mapped[BigInt | None] = mapped_column(default=None)
    git_commit: Mapped[str | None] = mapped_column(default=None)
    git_dirty: Mapped[bool | None] = mapped_column(default=None)
    versions: Mapped[Json | None] = mapped_column(default=None)
    device: Mapped[str | None] = mapped_column(default=None)
    started_at: Mapped[datetime | None] = mapped_column(default=None)
    finished_at: Mapped[datetime | None] = mapped_column(default=None)
    error: Mapped[str | None] = mapped_column(default=None)
    """Why the last attempt failed or was lost."""


class JobParent(Base):
    """A job that used another job's results."""

    __tablename__ = "job_parent"
    __table_args__ = (Index(None, "parent_id"),)

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    parent_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id"), primary_key=True)


class StudyJob(Base):
    """A job that a study asked for. Studies share jobs that have the same identity."""

    __tablename__ = "study_job"
    __table_args__ = (Index(None, "job_id"),)

    study_id: Mapped[BigInt] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"), primary_key=True)
    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)


class Submission(Base):
    """A study handed to workers. A scheduler is given its number alone: what there is to do stands here."""

    __tablename__ = "submission"
    __table_args__ = (CheckConstraint("executor IN ('local', 'slurm')", name="executor"), Index(None, "study_id"))

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    study_id: Mapped[BigInt] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"))
    executor: Mapped[Executor] = mapped_column(String)
    settings: Mapped[Json]
    """What was asked of the executor: workers, partition, GPUs, …"""
    scheduler_id: Mapped[str | None] = mapped_column(default=None)
    """The scheduler's own number for it."""
    submitted_at: Mapped[datetime] = mapped_column(server_default=text("CURRENT_TIMESTAMP"), init=False)


class Worker(Base):
    """A worker, as its supervising process last described it."""

    __tablename__ = "worker"
    __table_args__ = (
        CheckConstraint("state IN ('starting', 'planning', 'working', 'waiting', 'stopping', 'stopped')", name="state"),
        Index(None, "submission_id"),
        Index(None, "study_id"),
        Index(None, "job_id"),
    )

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    owner: Mapped[str] = mapped_column(unique=True)
    """Host, process number and start of the supervisor."""
    submission_id: Mapped[BigInt | None] = mapped_column(ForeignKey("submission.id", ondelete="SET NULL"), default=None)
    study_id: Mapped[BigInt | None] = mapped_column(ForeignKey("study.id", ondelete="SET NULL"), default=None)
    job_id: Mapped[BigInt | None] = mapped_column(ForeignKey("job.id", ondelete="SET NULL"), default=None)
    """What it computes now."""
    state: Mapped[WorkerState] = mapped_column(String)
    activity: Mapped[str | None] = mapped_column(default=None)
    """What its progress bar says."""
    progress: Mapped[float | None] = mapped_column(default=None)
    """Share of the activity that is done, 0 to 1."""
    published: Mapped[int] = mapped_column(default=0)
    """Units that it has published so far."""
    started_at: Mapped[datetime] = mapped_column(server_default=text("CURRENT_TIMESTAMP"), init=False)
    seen_at: Mapped[datetime] = mapped_column(server_default=text("CURRENT_TIMESTAMP"), init=False)
    """Its last heartbeat."""


class Blob(Base):
    """A file of the blob store, named by its content."""

    __tablename__ = "blob"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    suffix: Mapped[str]
    """safetensors or parquet."""
    bytes: Mapped[BigInt]
    created_at: Mapped[datetime] = mapped_column(server_default=text("CURRENT_TIMESTAMP"), init=False)


class Artifact(Base):
    """A blob that a job made and no other table describes."""

    __tablename__ = "artifact"
    __table_args__ = (Index(None, "blob"),)

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    """What it is among the job's outputs: `matrix`, `null`, `history`."""
    blob: Mapped[str] = mapped_column(ForeignKey("blob.sha256"))
