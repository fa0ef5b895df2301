"""Captured activations: which rows, and the shards that hold them."""

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tdlens.record.base import Base, BigInt


class Capture(Base):
    """One harvest of block outputs. All its blocks share one order of rows."""

    __tablename__ = "capture"
    __table_args__ = (Index(None, "job_id"),)

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"))
    positions: Mapped[str]
    """Which tokens: `decision`."""
    dtype: Mapped[str]
    n_rows: Mapped[int]
    hook: Mapped[str]
    """Where in the block: `block_output` is the residual stream after the block."""


class CaptureRow(Base):
    """The step that a row of a capture's shards belongs to."""

    __tablename__ = "capture_row"
    __table_args__ = (Index(None, "step_id"), {"sqlite_with_rowid": False})

    capture_id: Mapped[BigInt] = mapped_column(ForeignKey("capture.id", ondelete="CASCADE"), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step_id: Mapped[BigInt] = mapped_column(ForeignKey("step.id"))


class ActivationShard(Base):
    """Rows first_row … first_row + n_rows - 1 of one block, in one blob: [n_rows, d]."""

    __tablename__ = "activation_shard"
    __table_args__ = (UniqueConstraint("capture_id", "block", "first_row"), Index(None, "blob"))

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    capture_id: Mapped[BigInt] = mapped_column(ForeignKey("capture.id", ondelete="CASCADE"))
    block: Mapped[int]
    """0 is the embedding, i the output of the i-th decoder block."""
    blob: Mapped[str] = mapped_column(ForeignKey("blob.sha256"))
    first_row: Mapped[int]
    n_rows: Mapped[int]
    d: Mapped[int]
    dtype: Mapped[str]
