"""Sparse autoencoders and how good they are."""

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tdlens.record.base import Base, BigInt, Json


class SaeCheckpoint(Base):
    """A trained autoencoder of one block."""

    __tablename__ = "sae_checkpoint"
    __table_args__ = (UniqueConstraint("job_id", "name", "block"), Index(None, "blob"))

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"))
    name: Mapped[str]
    block: Mapped[int]
    architecture: Mapped[str]
    d_in: Mapped[int]
    d_latents: Mapped[int]
    config: Mapped[Json]
    blob: Mapped[str] = mapped_column(ForeignKey("blob.sha256"))
    seed: Mapped[BigInt]


class SaeMetric(Base):
    """One number about an autoencoder: explained_variance, fvu, l0, live, dead, non_constant, …"""

    __tablename__ = "sae_metric"
    __table_args__ = ({"sqlite_with_rowid": False},)

    sae_id: Mapped[BigInt] = mapped_column(ForeignKey("sae_checkpoint.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float | None]
    """None where the metric isn't defined."""


class LatentActivation(Base):
    """How strongly a latent worth looking at fired at a step; all others are encoded from the shards when needed."""

    __tablename__ = "latent_activation"
    __table_args__ = (Index(None, "step_id"), {"sqlite_with_rowid": False})

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    sae_id: Mapped[BigInt] = mapped_column(ForeignKey("sae_checkpoint.id"), primary_key=True)
    latent: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    signal_id: Mapped[BigInt] = mapped_column(ForeignKey("signal.id"), primary_key=True)
    """The signal that it follows best of all the autoencoder's latents."""
    step_id: Mapped[BigInt] = mapped_column(ForeignKey("step.id"), primary_key=True)
    value: Mapped[float]
