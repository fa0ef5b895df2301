"""What the latents of a network stand for, what they do to its choices, and how well the network plays."""

from typing import Literal

from sqlalchemy import CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from tdlens.record.base import Base, BigInt, JsonList

PredicateSource = Literal["sae", "raw", "untrained", "shuffled"]


class ModelMetric(Base):
    """One number about a model: how it plays, what it cost, how many of its latents are alive."""

    __tablename__ = "model_metric"
    __table_args__ = ({"sqlite_with_rowid": False},)

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float | None]
    """None where it isn't defined, as the length of won games where none was won."""
    ci_low: Mapped[float | None] = mapped_column(default=None)
    ci_high: Mapped[float | None] = mapped_column(default=None)
    """95 % interval; None where the value is exact."""
    n: Mapped[int | None] = mapped_column(default=None)
    """How many games, states or decisions it is over; None where it is over none of these."""


class LatentMeasure(Base):
    """One number about a latent: how often it fires, how large it is, what its removal does."""

    __tablename__ = "latent_measure"
    __table_args__ = (Index(None, "sae_id"), {"sqlite_with_rowid": False})

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    sae_id: Mapped[BigInt] = mapped_column(ForeignKey("sae_checkpoint.id"), primary_key=True)
    latent: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float | None]
    """None where it isn't defined, as what a latent does where it fires if it never fires."""


class LatentPredicate(Base):
    """How well a latent tells the states in which something holds from those in which it doesn't."""

    __tablename__ = "latent_predicate"
    __table_args__ = (
        CheckConstraint("source IN ('sae', 'raw', 'untrained', 'shuffled')", name="source"),
        Index(None, "job_id"),
        Index(None, "sae_id"),
    )

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"))
    """The model whose activations were read; the untrained one has a row of its own."""
    source: Mapped[PredicateSource] = mapped_column(String)
    """SAE latents, single dimensions of the layer, an untrained model's dimensions, or latents whose states were
    shuffled."""
    block: Mapped[int]
    sae_id: Mapped[BigInt | None] = mapped_column(ForeignKey("sae_checkpoint.id"), default=None)
    """None where no autoencoder read the activations."""
    latent: Mapped[int]
    """Number of the latent, or of the dimension."""
    predicate: Mapped[str]
    family: Mapped[str]
    """The predicates that say the same of other squares, files, …"""
    f1: Mapped[float]
    """Of "the latent is above its threshold", which was chosen on the same states; precision and recall likewise."""
    precision: Mapped[float]
    recall: Mapped[float]
    f1_heldout: Mapped[float | None] = mapped_column(default=None)
    """The same threshold on states that did not choose it; None where the predicate holds in none of them."""
    ci_low: Mapped[float | None] = mapped_column(default=None)
    ci_high: Mapped[float | None] = mapped_column(default=None)
    """95 % interval of the held-out F1."""
    null_mean: Mapped[float | None] = mapped_column(default=None)
    """Mean F1 under the null."""
    null_threshold: Mapped[float | None] = mapped_column(default=None)
    """What the null's largest F1 over the whole family exceeds with probability alpha."""
    z: Mapped[float | None] = mapped_column(default=None)
    """How many of the null's standard deviations the F1 lies above the null's mean."""
    p_familywise: Mapped[float | None] = mapped_column(default=None)
    n_true: Mapped[int]
    """States in which the predicate holds."""
    n_fired: Mapped[int]
    """States in which the latent is above its threshold."""
    matched_pairs: Mapped[int | None] = mapped_column(default=None)
    """Pairs of states with nearly the same Q-values, of which the predicate holds in one."""
    matched_share: Mapped[float | None] = mapped_column(default=None)
    """Share of these in which the latent is larger where the predicate holds; ties count half."""
    matched_low: Mapped[float | None] = mapped_column(default=None)
    matched_high: Mapped[float | None] = mapped_column(default=None)
    """95 % interval of the share."""
    added_share: Mapped[float | None] = mapped_column(default=None)
    """By how much that share exceeds that of a decoder which is given all Q-values, in the same pairs: nearly the same
    isn't the same, so this is what the latent adds."""
    added_low: Mapped[float | None] = mapped_column(default=None)
    added_high: Mapped[float | None] = mapped_column(default=None)
    """95 % interval of that difference."""
    decoder_f1: Mapped[float | None] = mapped_column(default=None)
    """Held-out F1 of a decoder that is given all Q-values."""


class LatentExample(Base):
    """A state in which a latent is among its largest."""

    __tablename__ = "latent_example"
    __table_args__ = (Index(None, "sae_id"), {"sqlite_with_rowid": False})

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    sae_id: Mapped[BigInt] = mapped_column(ForeignKey("sae_checkpoint.id"), primary_key=True)
    latent: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rank: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """0 is the state in which it is largest."""
    state: Mapped[int]
    value: Mapped[float]
    """The latent's activation there."""
    q_effect: Mapped[JsonList]
    """For each action: its Q-value minus what it is with the latent removed."""
