"""What models do while concept vectors are added to their residual stream, and what is found where an axis was written.

A column `training` names the training of the study that a vector comes from. Blocks number the residual stream as
everywhere: 0 enters the first decoder block, i leaves the i-th.
"""

from typing import Literal

from sqlalchemy import CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from tdlens.record.base import Base, BigInt
from tdlens.record.concepts import VectorSource

DoseKind = Literal["alpha", "unit"]


class SteeringEffect(Base):
    """What a model does in an evaluation while a vector is added to its residual stream."""

    __tablename__ = "steering_effect"
    __table_args__ = (
        CheckConstraint("dose_kind IN ('alpha', 'unit')", name="dose_kind"),
        CheckConstraint("source IN ('trained', 'untrained', 'random')", name="source"),
        Index(None, "job_id"),
    )

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    training: Mapped[str]
    """The training that the vector, or what it is a control for, comes from."""
    reader: Mapped[str]
    """What is steered: `naive`, or a training's name."""
    concept: Mapped[str]
    source: Mapped[VectorSource] = mapped_column(String)
    """The trained model's vector, the naive model's own of the same norm, or that of a random pair: the trained model's
    two turned together."""
    draw: Mapped[int]
    """Which random pair; 0 for the others."""
    block: Mapped[int]
    dose_kind: Mapped[DoseKind] = mapped_column(String)
    """alpha: as many times the vector; unit: as many times the mean norm of the stream, the vector's length aside."""
    dose: Mapped[float]
    norm: Mapped[float]
    """Of what was added."""
    evaluation: Mapped[str]
    measure: Mapped[str]
    group: Mapped[str]
    """Part of the items; `all` for all of them."""
    value: Mapped[float | None]
    """Mean over items; None where nothing coherent was left."""
    ci_low: Mapped[float | None]
    ci_high: Mapped[float | None]
    """95 %, over items."""
    incoherent: Mapped[float | None]
    """Share of the replies that were left out as incoherent; None where nothing is written."""
    n: Mapped[int]
    """Items."""
    judge: Mapped[str]
    """Who judged: `none` needed, `rules`, or a model with its revision."""


class SteeredText(Base):
    """A reply under steering, to be read: a few of each condition."""

    __tablename__ = "steered_text"
    __table_args__ = ({"sqlite_with_rowid": False},)

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    dose_kind: Mapped[DoseKind] = mapped_column(String, primary_key=True)
    dose: Mapped[float] = mapped_column(primary_key=True)
    item: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sample: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    prompt: Mapped[str]
    text: Mapped[str]
    label: Mapped[str]
    """What the judge called it."""
    score: Mapped[float | None]


class SteeringContrast(Base):
    """Slopes over the dose, and whether the whole pattern is more than a control's."""

    __tablename__ = "steering_contrast"
    __table_args__ = (Index(None, "job_id"),)

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    training: Mapped[str]
    reader: Mapped[str]
    dose_kind: Mapped[DoseKind] = mapped_column(String)
    evaluation: Mapped[str]
    measure: Mapped[str]
    quantity: Mapped[str]
    """`gold`, `mold`: slope of that vector's curve; `contrast`: gold's less mold's."""
    source: Mapped[str]
    """trained, untrained, random; `trained - untrained`, `trained - random`: the interaction."""
    expected: Mapped[int]
    """Sign that the paper says: 1 or -1."""
    value: Mapped[float]
    ci_low: Mapped[float]
    ci_high: Mapped[float]
    p: Mapped[float]
    n: Mapped[int]
    """Items."""


class PlantedAxis(Base):
    """A pair of models into which a welfare axis was written, or was not: does the same analysis find it?"""

    __tablename__ = "planted_axis"
    __table_args__ = ({"sqlite_with_rowid": False},)

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    evaluation: Mapped[str] = mapped_column(primary_key=True)
    planted: Mapped[bool]
    """Whether the axis is there, and the concept vectors' directions lie on it."""
    expected: Mapped[int]
    contrast: Mapped[float]
    """Interaction: Gold's slope less Mold's, less the same of the naive model's own vectors."""
    ci_low: Mapped[float]
    ci_high: Mapped[float]
    cosine: Mapped[float]
    """Of the two concept vectors where they were read."""
    cohen_d: Mapped[float]
    """The smaller one of the two concepts'."""
    found: Mapped[bool]
    """Whether all evaluations of the model say so together."""
