"""Attention heads: what removing them does, what they are known to do, and the searches for those that matter.

Blocks count from 1, heads within a block from 0. Views name a head as the literature does, `layer.head`, with layer =
block - 1.
"""

from typing import Literal

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tdlens.record.base import Base, BigInt, Json, JsonList

Split = Literal["training", "evaluation"]
PlantedRole = Literal["circuit", "hidden", "other"]


class HeadScore(Base):
    """What the ablation of one head does in one episode: to the task, and to text that has nothing to do with it."""

    __tablename__ = "head_score"
    __table_args__ = (
        CheckConstraint("split IN ('training', 'evaluation')", name="split"),
        {"sqlite_with_rowid": False},
    )

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"), primary_key=True)
    task_id: Mapped[BigInt] = mapped_column(ForeignKey("task.id"), primary_key=True)
    ablation: Mapped[str] = mapped_column(primary_key=True)
    """What the head's output is replaced by: value_bias, zero, mean, resample."""
    seed: Mapped[BigInt] = mapped_column(primary_key=True, autoincrement=False)
    """Of the episode, which its prompts and its control text follow from."""
    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    head: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    split: Mapped[Split] = mapped_column(String)
    """Whether policies may meet the episode in training."""
    task_damage: Mapped[float]
    """By how much the task's metric falls, in nats; mean over prompts."""
    control_damage: Mapped[float]
    """By how much the cross-entropy of the control text rises, in nats a token."""
    score: Mapped[float]
    """Task damage less the weighted control damage: the reward."""
    attribution: Mapped[float | None] = mapped_column(default=None)
    """First-order estimate of the score, by attribution patching."""


class HeadMeasure(Base):
    """One number about a head that needs no ablation: an attention pattern, a direct effect on the answer."""

    __tablename__ = "head_measure"
    __table_args__ = ({"sqlite_with_rowid": False},)

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"), primary_key=True)
    task: Mapped[str] = mapped_column(primary_key=True)
    """The task's variant; empty for measures of no task."""
    measure: Mapped[str] = mapped_column(primary_key=True)
    """induction_score, previous_token, duplicate_token, direct_effect, …"""
    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    head: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[float | None]
    """None where it isn't defined."""


class HeadLabel(Base):
    """A head that is known to play a part: by what it attends to, or by a publication."""

    __tablename__ = "head_label"
    __table_args__ = ({"sqlite_with_rowid": False},)

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"), primary_key=True)
    task: Mapped[str] = mapped_column(primary_key=True)
    """The task's variant in which it plays the part; empty for parts in any task."""
    label: Mapped[str] = mapped_column(primary_key=True)
    """induction, previous_token, name_mover, …"""
    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    head: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    source: Mapped[str]
    """Who says so: the attention pattern, or a publication."""


class HeadPair(Base):
    """Two heads ablated at once: heads that stand in for each other do more damage together than one by one."""

    __tablename__ = "head_pair"
    __table_args__ = ({"sqlite_with_rowid": False},)

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"), primary_key=True)
    task_id: Mapped[BigInt] = mapped_column(ForeignKey("task.id"), primary_key=True)
    seed: Mapped[BigInt] = mapped_column(primary_key=True, autoincrement=False)
    """Of the episode."""
    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    head: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    other_block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    other_head: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    damage: Mapped[float]
    """By how much the task's metric falls without both, in nats."""
    excess: Mapped[float]
    """The same less the sum of what each does alone; above 0 for heads that stand in for each other."""


class CircuitSearch(Base):
    """A way to look for heads: a trained policy, or a baseline that needs no training."""

    __tablename__ = "circuit_search"
    __table_args__ = (UniqueConstraint("job_id", "name"),)

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    model_id: Mapped[BigInt] = mapped_column(ForeignKey("model.id"))
    """The model whose heads are looked for."""
    n_heads: Mapped[int]
    """Heads of each of its blocks: action number = (block - 1) * n_heads + head."""
    name: Mapped[str]
    """The method, how it was trained and which training it was, as in ppo_k5/0."""
    method: Mapped[str]
    """ppo, random, layer_prior, ucb, training_mean, attribution, mean_ablation, oracle."""
    best_of: Mapped[int | None] = mapped_column(default=None)
    """Heads tried at each step of training, of which the best was executed; None without a training."""
    seed: Mapped[BigInt]
    transitions: Mapped[BigInt]
    """Heads executed in training; 0 without one."""
    forward_passes: Mapped[BigInt]
    """What the training costs with the model in the loop."""
    parameters: Mapped[Json]


class SearchProgress(Base):
    """How good the heads are that a policy finds at one moment of its training."""

    __tablename__ = "search_progress"
    __table_args__ = ({"sqlite_with_rowid": False},)

    search_id: Mapped[BigInt] = mapped_column(ForeignKey("circuit_search.id", ondelete="CASCADE"), primary_key=True)
    transitions: Mapped[BigInt] = mapped_column(primary_key=True, autoincrement=False)
    task_id: Mapped[BigInt] = mapped_column(ForeignKey("task.id"), primary_key=True)
    best_score: Mapped[float]
    """The best head's score of an episode; mean over evaluation episodes."""
    n_episodes: Mapped[int]


class SearchEpisode(Base):
    """What a rollout of a search found, beside the best that there is in the same episode."""

    __tablename__ = "search_episode"
    __table_args__ = (Index(None, "search_id"), {"sqlite_with_rowid": False})

    rollout_id: Mapped[BigInt] = mapped_column(ForeignKey("rollout.id", ondelete="CASCADE"), primary_key=True)
    search_id: Mapped[BigInt] = mapped_column(ForeignKey("circuit_search.id"))
    task_code: Mapped[str]
    """The task that the policy was told it is in: none, or a variant."""
    best_of: Mapped[int]
    """Heads tried at each step of this rollout, of which the best was executed."""
    best_score: Mapped[float]
    """Of the heads executed."""
    best_by_pass: Mapped[JsonList]
    """Whenever the best score known rose: forward passes spent until then, and that score. It tells apart the heads
    tried in one step, which the steps don't."""
    oracle: Mapped[float]
    """Highest score of all heads in the same episode."""
    forward_passes: Mapped[int]
    """What the whole rollout costs."""
    best_block: Mapped[int]
    best_head: Mapped[int]
    oracle_block: Mapped[int]
    oracle_head: Mapped[int]


class SearchStep(Base):
    """How far a search had come after a step; the step's action is the head, its reward the head's score."""

    __tablename__ = "search_step"
    __table_args__ = ({"sqlite_with_rowid": False},)

    step_id: Mapped[BigInt] = mapped_column(ForeignKey("step.id", ondelete="CASCADE"), primary_key=True)
    forward_passes: Mapped[int]
    """From the rollout's start on."""
    best_score: Mapped[float]
    """Of the heads executed so far."""


class PlantedCircuit(Base):
    """A head of a model whose circuit was written into its weights: what it is for, and what a search made of it."""

    __tablename__ = "planted_circuit"
    __table_args__ = (
        CheckConstraint("role IN ('circuit', 'hidden', 'other')", name="role"),
        {"sqlite_with_rowid": False},
    )

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    head: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    role: Mapped[PlantedRole] = mapped_column(String)
    """In the circuit; in it, but with a twin that stands in for it; or of no use to it."""
    score: Mapped[float]
    pair_excess: Mapped[float | None] = mapped_column(default=None)
    """The largest excess of a pair that it is in."""
    found_rank: Mapped[float | None] = mapped_column(default=None)
    """At which pick a search tried it, from 1 on; mean over episodes."""
