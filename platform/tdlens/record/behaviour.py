"""How well each behaviour model explains the choices."""

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from tdlens.record.base import Base, BigInt


class BehaviourFit(Base):
    """A behaviour model fitted to the choices of a set of rollouts."""

    __tablename__ = "behaviour_fit"
    __table_args__ = (Index(None, "job_id"), Index(None, "intervention_id"))

    id: Mapped[BigInt] = mapped_column(primary_key=True, init=False)
    job_id: Mapped[BigInt] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    task: Mapped[str]
    model_id: Mapped[BigInt | None] = mapped_column(ForeignKey("model.id"), default=None)
    policy: Mapped[str]
    intervention_id: Mapped[BigInt | None] = mapped_column(
        ForeignKey("intervention.id", ondelete="CASCADE"), default=None
    )
    behaviour_model: Mapped[str]
    n_choices: Mapped[int]
    n_rollouts: Mapped[int]
    n_parameters: Mapped[int]
    beta: Mapped[float | None] = mapped_column(default=None)
    """Inverse temperature of the softmax; None for a model without one."""
    nll: Mapped[float]
    """Negative log likelihood of all choices, in nats."""
    aic: Mapped[float]
    bic: Mapped[float]
    chance_nll: Mapped[float]
    nll_minus_q: Mapped[float | None] = mapped_column(default=None)
    """Summed NLL minus the Q-model's; positive means that Q-learning explains the choices better."""
    ci_low: Mapped[float | None] = mapped_column(default=None)
    ci_high: Mapped[float | None] = mapped_column(default=None)
    """95 % paired bootstrap interval of that difference over rollouts."""
