"""What reinforcement learning in a maze leaves in a language model: trainings, concept vectors, and what they do.

A column `training` names a training of the study; it is None where the maze-naive model is meant. Blocks number the
residual stream as everywhere: 0 enters the first decoder block, i leaves the i-th.
"""

from typing import Literal

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tdlens.record.base import Base, BigInt, Json

DoseKind = Literal["alpha", "unit"]
VectorSource = Literal["trained", "untrained", "random"]


class MazeTraining(Base):
    """A language model's training in the maze, and what came of it."""

    __tablename__ = "maze_training"
    __table_args__ = (UniqueConstraint("job_id"),)

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    base_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"))
    """The model that was trained."""
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"))
    """What it became."""
    name: Mapped[str]
    algorithm: Mapped[str]
    """dr_grpo, reinforce, sft."""
    variant: Mapped[str]
    """What the tiles look like: standard, swap, shuffle."""
    shuffled: Mapped[str]
    """Among whom rewards were exchanged at random: no, group, batch."""
    steps: Mapped[int]
    seed: Mapped[BigInt]
    parameters: Mapped[Json]
    """The whole configuration."""


class MazeProgress(Base):
    """A step of a training; what was played was played before the step's learning."""

    __tablename__ = "maze_progress"
    __table_args__ = ({"sqlite_with_rowid": False},)

    training_id: Mapped[BigInt] = mapped_column(ForeignKey("maze_training.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """From 1 on."""
    mean_return: Mapped[float | None]
    """Of a rollout, as the maze rewarded it; None in a step without play."""
    golds: Mapped[float | None]
    molds: Mapped[float | None]
    """Gold and Mold entered, a rollout's mean."""
    entropy: Mapped[float | None]
    """Of the policy among the directions offered, in nats."""
    loss: Mapped[float]
    gradient: Mapped[float]
    """Norm before it was cut."""
    equalised_entropy: Mapped[float]
    clipped: Mapped[float]
    """Share of the moves whose gradient a clip took away."""
    learning_rate: Mapped[float]


class MazeCheckpoint(Base):
    """A model that a training passed through, the last one included; its files are artifacts of the training's job."""

    __tablename__ = "maze_checkpoint"
    __table_args__ = ({"sqlite_with_rowid": False},)

    training_id: Mapped[BigInt] = mapped_column(ForeignKey("maze_training.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"))


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
    """Held-out trajectories of the concept's tile against the others, by their projection; so the two below."""
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
    """The trained model's vector, the naive model's own of the same norm, or a random one of the same norm."""
    draw: Mapped[int]
    """Which random one; 0 for the others."""
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
