"""The history of one rollout as arrays: what every agent learns from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from envs.game import Step

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Transitions:
    """N consecutive decisions of one rollout and their outcomes; every field has shape [N].

    Raises:
        ValueError: the lengths differ, an index is negative where it may not be, or a reward is not finite.
    """

    episode: IntArray
    """Episode of each decision, never decreasing."""
    state: IntArray
    """State in which the decision was taken."""
    action: IntArray
    """Action taken."""
    reward: FloatArray
    """Reward it brought."""
    next_state: IntArray
    """State it led to; ignored where ``done``."""
    done: BoolArray
    """The decision ended its episode, so nothing is bootstrapped from ``next_state``."""

    def __post_init__(self) -> None:
        shapes = {field.name: getattr(self, field.name).shape for field in fields(self)}
        if set(shapes.values()) != {(len(self),)}:
            raise ValueError(f"the arrays of a rollout must have one dimension and one length, not {shapes}")
        if len(self) == 0:
            return
        if min(self.state.min(), self.action.min()) < 0:
            raise ValueError("states and actions must be indices from 0")
        if (self.next_state[~self.done] < 0).any():
            raise ValueError("a decision that does not end its episode must lead to a state (an index from 0)")
        if not np.isfinite(self.reward).all():
            raise ValueError("rewards must be finite numbers")
        if (np.diff(self.episode) < 0).any():
            raise ValueError("episodes must be in order")

    def __len__(self) -> int:
        return int(self.state.size)

    @classmethod
    def from_steps(cls, steps: Iterable[Step]) -> Self:
        """The transitions of a game's ``steps``, in order."""
        columns = list(zip(*steps, strict=True)) or [()] * len(Step._fields)
        episode, state, action, reward, next_state, done, _ = columns
        return cls(
            episode=np.array(episode, dtype=np.int64),
            state=np.array(state, dtype=np.int64),
            action=np.array(action, dtype=np.int64),
            reward=np.array(reward, dtype=np.float64),
            next_state=np.array(next_state, dtype=np.int64),
            done=np.array(done, dtype=np.bool_),
        )

    @property
    def n_states(self) -> int:
        """One more than the highest state met: a table this long holds every value that is ever read."""
        return int(max(self.state.max(initial=-1), self.next_state.max(initial=-1))) + 1

    def check_states(self, n_states: int) -> None:
        """Raise ValueError if a state is met that a source for ``n_states`` states has no place for."""
        if self.n_states > n_states:
            raise ValueError(
                f"the rollout meets state {self.n_states - 1}, but the source was made for {n_states} states (from 0): "
                "make it with the number of states of the task"
            )

    @property
    def ends(self) -> BoolArray:
        """Last decisions of the episodes that are over, [N]: by ``done``, or because the next decision belongs to a
        later episode (a time-out, after which learners still look ahead to ``next_state``)."""
        followed = np.diff(self.episode, append=self.episode[-1:]) > 0
        return np.asarray(self.done | followed)

    def finished_episodes(self) -> tuple[IntArray, FloatArray]:
        """Where episodes end and what they returned: decision index and return of each, both [E].

        An episode that timed out is among them, with the rewards up to there; one that the end of the rollout cut
        off isn't.
        """
        ends = np.flatnonzero(self.ends)
        totals = np.concatenate([[0.0], np.cumsum(self.reward)])[ends + 1]
        return ends, np.diff(totals, prepend=0.0)

    def most_recent(self, per_episode: FloatArray, before: float) -> FloatArray:
        """A value per finished episode [E] spread over decisions [N], as known just before each decision.

        Args:
            per_episode: value of each finished episode, in the order of :meth:`finished_episodes`.
            before: value while no episode has finished.
        """
        finished = np.concatenate([[0], np.cumsum(self.ends)[:-1]]).astype(np.int64)[: len(self)]
        return np.concatenate([[before], per_episode])[finished]
