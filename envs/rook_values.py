"""What is best in the rook endgame, and what exactly comes of any policy, from its tables: no games are sampled.

Values are in raw reward units. They are of all boards of :data:`envs.rook_endgame.LEGAL`; elsewhere every action is
illegal, and worth -100.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from envs.rook_endgame import (
    ALL,
    MAX_MOVES,
    N_STATES,
    REWARDS,
    START_PROBABILITIES,
    Outcome,
    Variant,
    tables,
)

TOLERANCE = 1e-9
"""Raw reward that the values of :func:`value_iteration` are off by at most."""


def value_iteration(gamma: float, opponent: str = Variant.SMART) -> NDArray[np.float64]:
    """Q-values of best play without a clock [N_STATES, N_ACTIONS].

    Args:
        gamma: discount, above 0 and at most 1.
        opponent: ``"smart"`` or ``"uniform"``.

    Raises:
        ValueError: a discount out of range.
    """
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma must lie in (0, 1], not {gamma}")
    backup = _Backup(opponent)
    # Without a discount there is no such bound, and the values must not change at all. They come to that: they start at
    # the lowest there is, so no step lowers any of them, and neither does rounding.
    enough = TOLERANCE * (1 - gamma) / gamma
    values = np.full(N_STATES, REWARDS.min())
    while True:
        q = backup(gamma * values)
        improved = q.max(1)
        if np.abs(improved - values).max() <= enough:
            return q
        values = improved


@cache
def best_values(opponent: str = Variant.SMART) -> NDArray[np.float64]:
    """Q-values of best play without clock or discount [N_STATES, N_ACTIONS]; computed once."""
    values = value_iteration(1.0, opponent)
    values.flags.writeable = False
    return values


@cache
def ceiling(opponent: str = Variant.SMART) -> float:
    """The highest expected return of a game, over its starts; computed once."""
    return float(best_returns(opponent=opponent).returns[0] @ START_PROBABILITIES)


@dataclass(frozen=True, eq=False)
class Best:
    """Best play under the clock.

    Attributes:
        returns: expected undiscounted return from every board after so many moves of the game, [max_moves, N_STATES].
            ``returns[0]`` is the ceiling that no policy exceeds from any board.
        actions: the action that achieves it [max_moves, N_STATES]; the first of equally good ones.
    """

    returns: NDArray[np.float64]
    actions: NDArray[np.int64]


def best_returns(max_moves: int = MAX_MOVES, opponent: str = Variant.SMART) -> Best:
    """The highest expected return, for a player who sees the clock.

    Args:
        max_moves: White's moves in a game.
        opponent: ``"smart"`` or ``"uniform"``.
    """
    backup = _Backup(opponent)
    # A last move that would let the game go on costs what a time-out does, in place of an ordinary move.
    values = np.full(N_STATES, REWARDS[Outcome.TIME_OUT] - REWARDS[Outcome.ORDINARY])
    returns = np.empty((max_moves, N_STATES))
    actions = np.empty((max_moves, N_STATES), dtype=np.int64)
    for move in reversed(range(max_moves)):
        q = backup(values)
        actions[move] = q.argmax(1)
        values = returns[move] = q.max(1)
    return Best(returns, actions)


@dataclass(frozen=True, eq=False)
class Exact:
    """What a policy comes to over the starts of :data:`envs.rook_endgame.START_PROBABILITIES`.

    Attributes:
        mean_return: expected undiscounted return of a game.
        shares: probability that a game ends so, for every outcome that ends one.
        visits: expected number of decisions on each board in a game [N_STATES]; their sum is its expected length.
    """

    mean_return: float
    shares: dict[Outcome, float]
    visits: NDArray[np.float64]


def play_out(policy: NDArray[np.integer], opponent: str = Variant.SMART, max_moves: int = MAX_MOVES) -> Exact:
    """The exact expectation of a deterministic policy's games under the clock.

    Args:
        policy: an action for every board [N_STATES], or for every move of the game and board [max_moves, N_STATES].
        opponent: ``"smart"`` or ``"uniform"``.
        max_moves: White's moves in a game.

    Raises:
        ValueError: a policy of another shape.
    """
    if policy.shape not in ((N_STATES,), (max_moves, N_STATES)):
        raise ValueError(f"a policy has shape [{N_STATES}] or [{max_moves}, {N_STATES}], not {list(policy.shape)}")
    rules = tables(opponent)
    here, visits = np.asarray(START_PROBABILITIES), np.zeros(N_STATES)
    ended = np.zeros(len(Outcome))
    for actions in np.broadcast_to(policy, (max_moves, N_STATES)):
        visits += here
        outcome = rules.outcome[ALL, actions]
        goes_on = outcome == Outcome.ORDINARY
        ended += np.bincount(outcome[~goes_on], here[~goes_on], minlength=len(Outcome))
        answers = rules.n_replies[ALL, actions][goes_on].astype(np.int64)
        replies = rules.replies[ALL, actions][goes_on]
        share = np.repeat(here[goes_on] / answers, answers)
        here = np.bincount(replies[replies >= 0], share, minlength=N_STATES).astype(np.float64)
    ended[Outcome.TIME_OUT] += here.sum()
    ordinary = visits.sum() - ended.sum()
    mean_return = float(ended @ REWARDS + ordinary * REWARDS[Outcome.ORDINARY])
    shares: dict[Outcome, float] = {
        outcome: float(ended[outcome]) for outcome in Outcome if outcome is not Outcome.ORDINARY
    }
    return Exact(mean_return, shares, visits)


class _Backup:
    """From the values of boards to those of actions, a step before: rewards, and the mean over Black's answers."""

    def __init__(self, opponent: str) -> None:
        rules = tables(opponent)
        self._rewards = REWARDS[rules.outcome]
        self._goes_on = rules.outcome == Outcome.ORDINARY
        answers = rules.n_replies[self._goes_on].astype(np.int64)
        replies = rules.replies[self._goes_on]
        self._replies = replies[replies >= 0].astype(np.int64)
        self._answers = answers
        self._first = np.cumsum(answers) - answers

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        q = self._rewards.copy()
        q[self._goes_on] += np.add.reduceat(values[self._replies], self._first) / self._answers
        return q
