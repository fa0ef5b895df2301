"""Correlations of latents with learning signals, and what was covered."""

from typing import Literal

from sqlalchemy import CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from tdlens.record.base import Base, BigInt, JsonList

Source = Literal["sae", "raw", "pca", "shuffled"]


class Analysis(Base):
    """One family of correlations: a source of features against all signals, with one null for all of them."""

    __tablename__ = "analysis"
    __table_args__ = (
        CheckConstraint("source IN ('sae', 'raw', 'pca', 'shuffled')", name="source"),
        Index(None, "job_id"),
    )

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    task: Mapped[str]
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"))
    source: Mapped[Source] = mapped_column(String)
    """SAE latents, raw dimensions, principal components, or SAE latents against shuffled signals."""
    sae_name: Mapped[str | None] = mapped_column(default=None)
    n: Mapped[int]
    """Decisions."""
    n_rollouts: Mapped[int]
    family_size: Mapped[BigInt]
    """Number of hypotheses that the family-wise error counts."""
    n_permutations: Mapped[int]
    """Permutations of whole rollouts that make the null."""
    alpha: Mapped[float]
    threshold_z: Mapped[float | None] = mapped_column(default=None)
    """The statistic that the null's maximum exceeds with probability alpha."""
    covariates: Mapped[JsonList]
    top: Mapped[int | None] = mapped_column(default=None)
    """So many of the strongest correlations of each block and signal are in SQL, …"""
    cutoff: Mapped[float | None] = mapped_column(default=None)
    """… and every other with at least this |r|."""


class LatentCorrelation(Base):
    """The correlation of a latent (or dimension, or component) with a signal; the strongest are kept.

    On PostgreSQL each analysis has a partition of its own: see `tdlens.record.partitions`, which inserts them.
    """

    __tablename__ = "latent_correlation"
    __table_args__ = (
        Index(None, "block", "r"),
        {"sqlite_with_rowid": False, "postgresql_partition_by": "LIST (analysis_id)"},
    )

    analysis_id: Mapped[BigInt] = mapped_column(ForeignKey("analysis.id", ondelete="CASCADE"), primary_key=True)
    signal_id: Mapped[BigInt] = mapped_column(ForeignKey("signal.id"), primary_key=True)
    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    latent: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sae_id: Mapped[BigInt | None] = mapped_column(ForeignKey("sae_checkpoint.id"), default=None)
    r: Mapped[float]
    """Pearson's r over all decisions, with its sign."""
    r_selection: Mapped[float | None] = mapped_column(default=None)
    """r on the rollouts that latents are chosen by."""
    r_heldout: Mapped[float | None] = mapped_column(default=None)
    """r on the other rollouts."""
    ci_low: Mapped[float | None] = mapped_column(default=None)
    ci_high: Mapped[float | None] = mapped_column(default=None)
    heldout_low: Mapped[float | None] = mapped_column(default=None)
    heldout_high: Mapped[float | None] = mapped_column(default=None)
    """Intervals of r and of r_heldout at confidence 1 - alpha of the analysis, clustered by rollout."""
    r_partial: Mapped[float | None] = mapped_column(default=None)
    """r given the analysis's covariates."""
    r_partial_heldout: Mapped[float | None] = mapped_column(default=None)
    """The same on the rollouts that latents aren't chosen by."""
    partial_low: Mapped[float | None] = mapped_column(default=None)
    partial_high: Mapped[float | None] = mapped_column(default=None)
    """Interval of r_partial."""
    null_mean: Mapped[float | None] = mapped_column(default=None)
    null_sd: Mapped[float | None] = mapped_column(default=None)
    p_familywise: Mapped[float | None] = mapped_column(default=None)
    q_value: Mapped[float | None] = mapped_column(default=None)
    """False discovery rate, over the whole family before the cut."""
    n: Mapped[int]
    n_rollouts: Mapped[int]


class Coverage(Base):
    """What was computed and what was kept, so that a missing correlation means weak and not unknown."""

    __tablename__ = "coverage"
    __table_args__ = (Index(None, "signal_id"), Index(None, "blob"), {"sqlite_with_rowid": False})

    analysis_id: Mapped[BigInt] = mapped_column(ForeignKey("analysis.id", ondelete="CASCADE"), primary_key=True)
    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    signal_id: Mapped[BigInt] = mapped_column(ForeignKey("signal.id"), primary_key=True)
    n_latents: Mapped[int]
    n_live: Mapped[int]
    n_kept: Mapped[int]
    min_abs_r_kept: Mapped[float | None] = mapped_column(default=None)
    """Every latent with a larger |r| is in SQL; some with a smaller one are too."""
    r_threshold: Mapped[float | None] = mapped_column(default=None)
    """The |r| that is significant family-wise."""
    blob: Mapped[str | None] = mapped_column(ForeignKey("blob.sha256"), default=None)
    """Parquet file of the full matrix."""
