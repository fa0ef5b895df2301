"""Concept vectors, the directions of the maze's tiles in a language model, and how they lie among other things.

A column `training` names a training of the study; it is None where the maze-naive model is meant. Blocks number the
residual stream as everywhere: 0 enters the first decoder block, i leaves the i-th.
"""

from typing import Literal

from sqlalchemy import CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from tdlens.record.base import Base, BigInt, Json

VectorSource = Literal["trained", "untrained", "random"]


class ConceptVector(Base):
    """A concept's direction in one block: the mean of the trajectories that end on a tile, less that of the others."""

    __tablename__ = "concept_vector"
    __table_args__ = (Index(None, "blob"), Index(None, "model_id"), {"sqlite_with_rowid": False})

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    concept: Mapped[str] = mapped_column(primary_key=True)
    """mold, gold, path: the final tile."""
    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"))
    training: Mapped[str | None]
    step: Mapped[int | None]
    """Of a checkpoint; None for the trained model and for the naive one."""
    variant: Mapped[str]
    """What the tiles looked like."""
    norm: Mapped[float]
    stream_norm: Mapped[float]
    """Mean norm of the activations that it is made of: what a norm is to be compared with."""
    auroc: Mapped[float]
    """Trajectories of the concept's tile against the others, by their projection; so the two below. They made no
    vector, and chose the block: `goal_tracking` has others, which judge the vector there."""
    cohen_d: Mapped[float]
    overlap: Mapped[float]
    """Of the two histograms, 50 bins: 1 if they are the same."""
    chosen: Mapped[bool]
    """Whether the rule of the paper (D.3) chooses this block for the concept."""
    n: Mapped[int]
    """Trajectories of the concept's tile behind the mean."""
    blob: Mapped[str] = mapped_column(ForeignKey("blob.sha256"))
    """safetensors; a tensor by each concept's name, float32 [n_blocks + 1, d_model]."""


class ConceptCosine(Base):
    """The cosine of two directions in one block."""

    __tablename__ = "concept_cosine"
    __table_args__ = (Index(None, "model_id"), {"sqlite_with_rowid": False})

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    concept: Mapped[str] = mapped_column(primary_key=True)
    other: Mapped[str] = mapped_column(primary_key=True)
    """A concept, perhaps in another form: centred class means (`gold centred`), less the mean of Path (`gold - path`),
    of the naive model (`untrained gold`)."""
    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"))
    training: Mapped[str | None]
    step: Mapped[int | None]
    variant: Mapped[str]
    cosine: Mapped[float]


class ConceptToken(Base):
    """A token that a concept vector makes more likely (or less, `sign` -1): the logit lens."""

    __tablename__ = "concept_token"
    __table_args__ = ({"sqlite_with_rowid": False},)

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    training: Mapped[str | None]
    variant: Mapped[str]
    concept: Mapped[str] = mapped_column(primary_key=True)
    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sign: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rank: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """From 1 on."""
    token: Mapped[str]
    logit: Mapped[float]
    """Unembedding times the vector of unit norm, less the mean over the vocabulary."""


class EmotionCosine(Base):
    """The cosine of a concept vector with an emotion word's vector."""

    __tablename__ = "emotion_cosine"
    __table_args__ = (Index(None, "model_id"), {"sqlite_with_rowid": False})

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"), primary_key=True)
    """Whose concept vector; the emotion vectors are the naive model's."""
    training: Mapped[str | None]
    variant: Mapped[str] = mapped_column(primary_key=True)
    concept: Mapped[str] = mapped_column(primary_key=True)
    emotion: Mapped[str] = mapped_column(primary_key=True)
    block: Mapped[int]
    cosine: Mapped[float]
    valence: Mapped[float]
    """Of the word, by a table, from -1 to 1."""


class EmotionComponent(Base):
    """A concept vector's projection on a principal component of the emotion vectors."""

    __tablename__ = "emotion_component"
    __table_args__ = (Index(None, "model_id"), {"sqlite_with_rowid": False})

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"), primary_key=True)
    training: Mapped[str | None]
    variant: Mapped[str] = mapped_column(primary_key=True)
    component: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """From 1 on; its sign is such that words of positive valence lie above 0."""
    concept: Mapped[str] = mapped_column(primary_key=True)
    block: Mapped[int]
    explained: Mapped[float]
    """Share of the emotion vectors' variance."""
    valence_r: Mapped[float]
    """Pearson's r of the words' projections with their valence."""
    projection: Mapped[float]
    cosine: Mapped[float]
    null_low: Mapped[float]
    null_high: Mapped[float]
    """Within which 95 % of random vectors of the same norm project."""


class GoalTracking(Base):
    """How far projections on a concept vector tell what went well from what went badly, in activations held out."""

    __tablename__ = "goal_tracking"
    __table_args__ = (
        CheckConstraint("source IN ('trained', 'untrained')", name="source"),
        {"sqlite_with_rowid": False},
    )

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    training: Mapped[str]
    """The training that the vector, or the naive model's own beside it, comes from."""
    source: Mapped[VectorSource] = mapped_column(String, primary_key=True)
    """trained, untrained: whose vector."""
    reader: Mapped[str] = mapped_column(primary_key=True)
    """Whose activations: `naive`, or a training's name."""
    panel: Mapped[str] = mapped_column(primary_key=True)
    """`maze finals`, `correctness`, `correctness, low confidence`, …"""
    concept: Mapped[str] = mapped_column(primary_key=True)
    block: Mapped[int]
    d: Mapped[float]
    """Cohen's d. Of maze finals: the concept's tile against the others; of correctness: told right against wrong."""
    ci_low: Mapped[float]
    ci_high: Mapped[float]
    n: Mapped[int]
    n_other: Mapped[int]
    histogram: Mapped[Json]
    """`edges` of the z-scored projections, and counts `first` and `other`."""


class ConceptLatent(Base):
    """A latent that follows a learning signal, beside a concept vector."""

    __tablename__ = "concept_latent"
    __table_args__ = (Index(None, "sae_id"), {"sqlite_with_rowid": False})

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    concept: Mapped[str] = mapped_column(primary_key=True)
    """`gold`, `mold`; `untrained gold`, … for the naive model's own."""
    sae_id: Mapped[BigInt] = mapped_column(ForeignKey("sae_checkpoint.id"), primary_key=True)
    signal: Mapped[str] = mapped_column(primary_key=True)
    latent: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    training: Mapped[str]
    block: Mapped[int]
    r: Mapped[float]
    """Of latent and signal, as the first study found it."""
    r_partial: Mapped[float | None]
    cosine: Mapped[float]
    """Of the latent's decoder row and the concept vector."""
    activation: Mapped[float]
    """What the latent reads in a concept vector of norm 1: its encoder row times it, in the stream's scale."""


class ConceptSignal(Base):
    """The latents that follow a signal best, as a set, beside a concept vector: closer than other latents are?"""

    __tablename__ = "concept_signal"
    __table_args__ = (Index(None, "sae_id"), {"sqlite_with_rowid": False})

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    concept: Mapped[str] = mapped_column(primary_key=True)
    sae_id: Mapped[BigInt] = mapped_column(ForeignKey("sae_checkpoint.id"), primary_key=True)
    signal: Mapped[str] = mapped_column(primary_key=True)
    training: Mapped[str]
    block: Mapped[int]
    n_latents: Mapped[int]
    cosine: Mapped[float]
    """Of the concept vector and the sum of the decoder rows, each of norm 1 and with the sign of its correlation."""
    cosine_low: Mapped[float]
    cosine_high: Mapped[float]
    """Within which 95 % of equally large random sets of live latents, matched by firing rate, lie."""
    cosine_p: Mapped[float]
    """Two-sided, from these sets."""
    share: Mapped[float]
    """Of the concept vector's squared norm that lies in the span of the decoder rows."""
    share_high: Mapped[float]
    """95 % of the matched sets have less."""
    share_p: Mapped[float]
