"""Who did what: studies, jobs and blobs."""

from datetime import datetime
from typing import Literal

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from tdlens.record.base import Base, BigInt, Json

JobState = Literal["running", "done", "failed"]


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
    """One stage's unit of work. Its identity (of configuration and parents) is computed once and for all."""

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint("state IN ('running', 'done', 'failed')", name="state"),
        CheckConstraint("(state = 'running') = (finished_at IS NULL)", name="finished"),
        Index(None, "stage"),
    )

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    stage: Mapped[str]
    key: Mapped[str]
    """Which unit of the stage, for people: `block=3`."""
    identity: Mapped[str] = mapped_column(unique=True)
    state: Mapped[JobState] = mapped_column(String)
    attempt: Mapped[int]
    """1, 2, …; with `owner` it fences publication: a worker given up for dead can't overwrite."""
    owner: Mapped[str]
    config: Mapped[Json]
    seed: Mapped[BigInt | None] = mapped_column(default=None)
    git_commit: Mapped[str | None] = mapped_column(default=None)
    git_dirty: Mapped[bool | None] = mapped_column(default=None)
    versions: Mapped[Json]
    device: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=text("CURRENT_TIMESTAMP"), init=False)
    finished_at: Mapped[datetime | None] = mapped_column(default=None)
    error: Mapped[str | None] = mapped_column(default=None)


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
