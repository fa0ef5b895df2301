"""The learners whose signals are recorded."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from envs import Task
from envs.agents import MatrixSource, described
from jobs.sections.base import Distinct, Section, at_default, registered


class SignalsSection(Section):
    """The learners whose signals are recorded (paper §2.4: α 0.1, γ 0.99, the last 4 transitions)."""

    alpha: float = Field(0.1, gt=0, le=1)
    """Learning rate."""
    gamma: float = Field(0.99, ge=0, le=1)
    """Discount of the Q-learner; the myopic learner has 0."""
    window: PositiveInt | Literal["all"] = 4
    """Transitions over which the TD error is averaged: so many last ones, or all."""
    agents: Distinct[str] = ("q_learning", "myopic", "repetition", "best_episode", "context")
    """Registered agents that replay every rollout."""
    sr_initial: float = Field(0.0, ge=0)
    """Diagonal of the successor representation before anything is learned: 0, or 1 for the identity."""
    surprise_clip: float = Field(1e-3, gt=0, lt=1)
    """Smallest probability whose logarithm is a surprise."""

    @model_validator(mode="after")
    def _known(self) -> SignalsSection:
        for agent in self.agents:
            registered(agent, described((), 1), "agent")
        return self

    def config(self) -> dict[str, Any]:
        """What decides the signals. Settings that came later are left out at their defaults: identities stay."""
        return self.model_dump(mode="json", exclude=at_default(self, "sr_initial", "surprise_clip"))

    def names(self, task: Task) -> list[str]:
        """The signals that the agents give in a task."""
        sources = described(task.actions, task.n_states)
        return [name for agent in self.agents for name in sources[agent].describe()]

    def matrices(self, task: Task) -> list[str]:
        """Those of their signals that have a value for every state."""
        sources = [described(task.actions, task.n_states)[agent] for agent in self.agents]
        return [name for source in sources if isinstance(source, MatrixSource) for name in source.describe_matrices()]
