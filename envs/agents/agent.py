"""What a source of learning signals offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from envs.agents.transitions import FloatArray, Transitions

Parameter = float | int | None


@dataclass(frozen=True)
class SignalInfo:
    """What one learning signal is."""

    description: str
    """One line, for tables and figures."""
    parameters: Mapping[str, Parameter]
    """The settings on which its values depend."""


class SignalSource(Protocol):
    """Computes scalars for every decision of a rollout from what was known before that decision."""

    @property
    def name(self) -> str:
        """Key in the registry."""

    def describe(self) -> dict[str, SignalInfo]:
        """What each signal is; the keys are those of :meth:`replay`."""

    def replay(self, t: Transitions) -> dict[str, FloatArray]:
        """All signals of one rollout, each [N].

        The entry of decision n depends on transitions before n, on the state at n, and, for signals about the
        action taken (``…_chosen``, ``…_unchosen``), on the action at n. It never depends on the outcome of n.
        """


class Agent(SignalSource, Protocol):
    """A signal source that also prefers some actions over others."""

    def action_values(self, t: Transitions) -> FloatArray:
        """[N, n_actions]: the preference for each action in the state of decision n, before choice n."""
