"""Trainings of a language model in the maze: what they were, how they went, which models they passed through."""

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tdlens.record.base import Base, BigInt, Json


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
