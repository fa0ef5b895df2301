"""What was played: tasks, models, rollouts, episodes, steps."""

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from tdlens.record.base import Base, BigInt, Json, JsonList


class Task(Base):
    """A task's variant with its full configuration."""

    __tablename__ = "task"
    __table_args__ = (UniqueConstraint("name", "variant", "config_hash"),)

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    name: Mapped[str]
    variant: Mapped[str]
    config: Mapped[Json]
    config_hash: Mapped[str]
    actions: Mapped[JsonList]
    """The action words, in the order of the action numbers."""


class Model(Base):
    """A language model or another network, by the fingerprint of its weights and the precision it ran in."""

    __tablename__ = "model"
    __table_args__ = (UniqueConstraint("name", "fingerprint", "dtype"),)

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    name: Mapped[str]
    source: Mapped[str]
    """Where the weights came from: a path, a hub name, or the seed of an untrained model."""
    fingerprint: Mapped[str]
    architecture: Mapped[str]
    n_blocks: Mapped[int]
    d_model: Mapped[int]
    n_parameters: Mapped[BigInt]
    dtype: Mapped[str]


class Rollout(Base):
    """One game from start to end: the episodes that share a context."""

    __tablename__ = "rollout"
    __table_args__ = (
        UniqueConstraint("job_id", "task_id", "policy", "intervention_id", "index"),
        # NULLs count as different in the constraint above.
        Index(
            "uq_rollout_without_intervention",
            "job_id",
            "task_id",
            "policy",
            "index",
            unique=True,
            sqlite_where=text("intervention_id IS NULL"),
            postgresql_where=text("intervention_id IS NULL"),
        ),
        Index(None, "intervention_id"),
    )

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    task_id: Mapped[BigInt] = mapped_column(ForeignKey("task.id"))
    model_id: Mapped[BigInt | None] = mapped_column(ForeignKey("model.id"), default=None)
    """None when no network chose: a tabular or a random agent's play."""
    policy: Mapped[str]
    intervention_id: Mapped[BigInt | None] = mapped_column(
        ForeignKey("intervention.id", ondelete="CASCADE"), default=None
    )
    seed: Mapped[BigInt]
    index: Mapped[int]
    """0, 1, … within job, task, policy and intervention; equal indexes are paired across interventions."""
    n_steps: Mapped[int]
    transcript: Mapped[str]


class Episode(Base):
    """One episode of a rollout."""

    __tablename__ = "episode"
    __table_args__ = (UniqueConstraint("rollout_id", "index"),)

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    rollout_id: Mapped[BigInt] = mapped_column(ForeignKey("rollout.id", ondelete="CASCADE"))
    index: Mapped[int]
    return_: Mapped[float] = mapped_column("return")
    """Sum of the episode's rewards."""
    forced: Mapped[bool]
    """Whether exploration was forced: actions drawn at random, whatever the model said."""
    outcome: Mapped[str | None] = mapped_column(default=None)
    """How it ended, where the rewards don't tell; None for tasks whose episodes all end alike."""


class Step(Base):
    """One decision."""

    __tablename__ = "step"
    __table_args__ = (UniqueConstraint("rollout_id", "index"), Index(None, "episode_id"))

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    episode_id: Mapped[BigInt] = mapped_column(ForeignKey("episode.id", ondelete="CASCADE"))
    rollout_id: Mapped[BigInt] = mapped_column(ForeignKey("rollout.id", ondelete="CASCADE"))
    index: Mapped[int]
    """0, 1, … within the rollout."""
    state: Mapped[int]
    action: Mapped[int]
    reward: Mapped[float]
    next_state: Mapped[int]
    """-1 when the episode ended."""
    done: Mapped[bool]
    forced: Mapped[bool]
    p_chosen: Mapped[float | None] = mapped_column(default=None)
    """The policy's probability of the action taken, restricted to the task's actions."""
    action_probabilities: Mapped[JsonList | None] = mapped_column(default=None)
    token_position: Mapped[int | None] = mapped_column(default=None)
    """Index of the decision token in the rollout's tokens; None for play without tokens."""
