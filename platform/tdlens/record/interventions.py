"""What was switched off or changed, and what came of it."""

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tdlens.record.base import Base, BigInt, JsonList


class Intervention(Base):
    """An edit of one block's output at the decisions, or of several blocks', or one of its controls."""

    __tablename__ = "intervention"
    __table_args__ = (UniqueConstraint("job_id", "name"), Index(None, "sae_id"))

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    name: Mapped[str]
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"))
    sae_id: Mapped[BigInt | None] = mapped_column(ForeignKey("sae_checkpoint.id"), default=None)
    block: Mapped[int]
    """The first block edited."""
    latents: Mapped[JsonList]
    operation: Mapped[str]
    """zero, clamp, multiply, mean, splice, …"""
    value: Mapped[float | None] = mapped_column(default=None)
    """The value clamped to, or the factor."""
    target_signal: Mapped[str]
    """The signal whose latents these are, or are the controls of."""
    control: Mapped[str]
    """none for the intervention itself, else which control: lowest, matched, random_direction, …"""
    description: Mapped[str]


class InterventionLatent(Base):
    """A latent that an intervention edits. Interventions from before this table have none: see their `latents`."""

    __tablename__ = "intervention_latent"
    __table_args__ = (Index(None, "sae_id"), {"sqlite_with_rowid": False})

    intervention_id: Mapped[BigInt] = mapped_column(ForeignKey("intervention.id", ondelete="CASCADE"), primary_key=True)
    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    latent: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sae_id: Mapped[BigInt] = mapped_column(ForeignKey("sae_checkpoint.id"))


class InterventionEffect(Base):
    """A metric under an intervention against the same rollouts without it."""

    __tablename__ = "intervention_effect"
    __table_args__ = (Index(None, "intervention_id", "metric"),)

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    intervention_id: Mapped[BigInt] = mapped_column(ForeignKey("intervention.id", ondelete="CASCADE"))
    metric: Mapped[str]
    block: Mapped[int | None] = mapped_column(default=None)
    """The later block measured, for metrics of activations."""
    value: Mapped[float | None]
    baseline: Mapped[float | None]
    difference: Mapped[float | None]
    ci_low: Mapped[float | None] = mapped_column(default=None)
    ci_high: Mapped[float | None] = mapped_column(default=None)
    """95 % interval of the difference over rollouts."""
    n_rollouts: Mapped[int]
