"""What a source of learning signals offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from envs.agents.transitions import FloatArray, Transitions

Parameter = float | int | None


@dataclass(frozen=True)
class SignalInfo:
    """What one learning signal is."""

    description: str
    """One line, for tables and figures."""
    parameters: Mapping[str, Parameter]
    """The settings on which its values depend."""


class Described(Protocol):
    """Whatever gives named signals."""

    @property
    def name(self) -> str:
        """Key in the registry."""

    def describe(self) -> dict[str, SignalInfo]:
        """What each signal is, by its name."""


@runtime_checkable
class ValueSource(Described, Protocol):
    """Computes scalars for every decision from what a player holds each action to be worth there."""

    def replay_values(self, t: Transitions, q: FloatArray) -> dict[str, FloatArray]:
        """All signals of one rollout, each [N], by the names of :meth:`describe`.

        Args:
            t: what was played.
            q: Q-values at its decisions, [N, actions].

        Raises:
            ValueError: the Q-values aren't of these decisions.
        """


@runtime_checkable
class SignalSource(Described, Protocol):
    """Computes scalars for every decision of a rollout from what was known before that decision."""

    def replay(self, t: Transitions) -> dict[str, FloatArray]:
        """All signals of one rollout, each [N].

        The entry of decision n depends on transitions before n, on episode and state at n, and, for signals about the
        action taken (``…_chosen``, ``…_unchosen``), on the action at n. It never depends on the outcome of n.
        """


@runtime_checkable
class MatrixSource(SignalSource, Protocol):
    """A signal source that also knows something of every state at every decision: a matrix a rollout."""

    def describe_matrices(self) -> dict[str, SignalInfo]:
        """What each matrix is; the keys are those of :meth:`replay_matrix`."""

    def replay_matrix(self, t: Transitions) -> dict[str, FloatArray]:
        """All matrices of one rollout, each [N, n_states].

        Row n depends on transitions before n and on the state at n, never on what is decided there.

        Raises:
            ValueError: the rollout meets a state that the source wasn't made for.
        """


class Agent(SignalSource, Protocol):
    """A signal source that also prefers some actions over others."""

    def action_values(self, t: Transitions) -> FloatArray:
        """[N, n_actions]: the preference for each action in the state of decision n, before choice n."""
