"""Learning signals: what an agent that watched the same play would compute at each decision."""

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tdlens.record.base import Base, BigInt, Json


class Signal(Base):
    """A named quantity of an agent with fixed parameters."""

    __tablename__ = "signal"
    __table_args__ = (UniqueConstraint("name", "parameters_hash"),)

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    name: Mapped[str]
    agent: Mapped[str]
    parameters: Mapped[Json]
    parameters_hash: Mapped[str]
    description: Mapped[str]


class LearningSignal(Base):
    """A signal's value at a step, from the transitions before it (`…_chosen`: and from the action taken there)."""

    __tablename__ = "learning_signal"
    __table_args__ = (Index(None, "step_id"), {"sqlite_with_rowid": False})

    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    """Part of the key: two jobs with different lists of signals may compute the same one."""
    signal_id: Mapped[BigInt] = mapped_column(ForeignKey("signal.id"), primary_key=True)
    step_id: Mapped[BigInt] = mapped_column(ForeignKey("step.id"), primary_key=True)
    value: Mapped[float | None]
    """None where the signal isn't defined, such as the last reward before the first one."""
