"""What a block represents as a whole: one number a measure, and maps of its states."""

from typing import Literal

from sqlalchemy import CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from tdlens.record.base import Base, BigInt

MeasureSource = Literal["sae", "raw", "pca", "untrained", "shuffled", "stream"]


class BlockMeasure(Base):
    """How closely one block follows a signal, by one measure, with its interval over rollouts and its null."""

    __tablename__ = "block_measure"
    __table_args__ = (
        CheckConstraint("source IN ('sae', 'raw', 'pca', 'untrained', 'shuffled', 'stream')", name="source"),
        Index(None, "job_id"),
        Index(None, "intervention_id"),
    )

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"))
    """The model whose activations were measured; the untrained one has a row of its own."""
    task: Mapped[str]
    block: Mapped[int]
    source: Mapped[MeasureSource] = mapped_column(String)
    """SAE latents, single residual dimensions, principal components, an untrained model's dimensions, latents against
    other rollouts' signals, or the residual stream as a whole."""
    sae_name: Mapped[str | None] = mapped_column(default=None)
    measure: Mapped[str]
    """max_r, max_r_partial, cka, decoding, similarity, …"""
    signal: Mapped[str]
    """What is compared with the block, or decoded from it."""
    intervention_id: Mapped[BigInt | None] = mapped_column(
        ForeignKey("intervention.id", ondelete="CASCADE"), default=None
    )
    value: Mapped[float | None]
    """None where it isn't defined, as where no latent varies."""
    ci_low: Mapped[float | None] = mapped_column(default=None)
    ci_high: Mapped[float | None] = mapped_column(default=None)
    """95 % interval over rollouts."""
    null_mean: Mapped[float | None] = mapped_column(default=None)
    null_threshold: Mapped[float | None] = mapped_column(default=None)
    """What the null's largest value over all blocks exceeds with probability alpha."""
    n_rollouts: Mapped[int]


class MapPoint(Base):
    """A state's place on a plane that shows how similar the states' representations are; or a latent's, by its
    direction."""

    __tablename__ = "map_point"
    __table_args__ = (Index(None, "job_id"), Index(None, "intervention_id"))

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    block: Mapped[int | None]
    """None where a signal is mapped, not a block."""
    method: Mapped[str]
    """How the plane was found: mds of states, pca of directions."""
    source: Mapped[str]
    """stream, untrained, the name of the signal mapped, or of the autoencoder whose directions are."""
    rollout_index: Mapped[int]
    intervention_id: Mapped[BigInt | None] = mapped_column(
        ForeignKey("intervention.id", ondelete="CASCADE"), default=None
    )
    item: Mapped[int]
    """The state, or the latent."""
    label: Mapped[str]
    """The word that the rollout calls it by, or what the latent stands for; empty where there is none."""
    grp: Mapped[int]
    """The community that the state belongs to; of a latent 1 if it is alive."""
    x: Mapped[float]
    y: Mapped[float]


class PublishedPoint(Base):
    """A point of a published curve, as the publication shows it or as others found it in what was published."""

    __tablename__ = "published_point"
    __table_args__ = ({"sqlite_with_rowid": False},)

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    """The publication."""
    figure: Mapped[str] = mapped_column(primary_key=True)
    series: Mapped[str] = mapped_column(primary_key=True)
    x: Mapped[float] = mapped_column(primary_key=True)
    y: Mapped[float]
    low: Mapped[float | None] = mapped_column(default=None)
    high: Mapped[float | None] = mapped_column(default=None)
