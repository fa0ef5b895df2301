"""Let players play many games of the rook endgame at once, the same games each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from envs.rook_endgame import (
    MAX_MOVES,
    N_ACTIONS,
    N_SQUARES,
    N_STATES,
    REWARDS,
    Outcome,
    Variant,
    advance,
    observations,
)
from envs.rook_games import deal
from envs.rook_values import play_out, value_iteration
from jobs.networks.files import REMEDY, load_network
from jobs.networks.q_network import QNetwork
from tdlens.errors import UserError

TASK = "rook_endgame"
N_INPUTS = 3 * N_SQUARES
"""Numbers of an observation."""

Choose = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""From boards [n] to moves [n]."""


@dataclass(frozen=True, eq=False)
class Played:
    """How some games went.

    Attributes:
        returns: sum of the raw rewards of each game [n].
        outcomes: the last move's ``Outcome`` [n].
        moves: White's moves [n].
    """

    returns: NDArray[np.float64]
    outcomes: NDArray[np.int64]
    moves: NDArray[np.int64]

    def share(self, outcome: Outcome) -> float:
        """Share of the games that ended so."""
        return float(np.mean(self.outcomes == outcome))

    def half_width(self) -> float:
        """Of the 95 % interval around the mean return, over games."""
        return float(1.96 * self.returns.std(ddof=1) / np.sqrt(len(self.returns)))


def greedy_policy(network: QNetwork) -> NDArray[np.int64]:
    """The action of highest Q-value in every state [N_STATES]; the first of equal ones."""
    with torch.no_grad():
        q_values = network.q_values(torch.from_numpy(observations(np.arange(N_STATES))))
    return q_values.argmax(dim=1).numpy().astype(np.int64)


def sample_games(choose: Choose, n: int, seed: int, opponent: str = Variant.SMART) -> Played:
    """Play ``n`` games, each to its end.

    Game i is that of :func:`envs.rook_games.deal` with this seed and game 0 to n - 1: its starting board and Black's
    choices are the same whoever plays.
    """
    dealt = [deal(seed, game) for game in range(n)]
    states = np.array([board for board, _ in dealt])
    luck = np.array([choices for _, choices in dealt])
    returns, outcomes, moves = np.zeros(n), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    playing = np.arange(n)
    for moved in range(MAX_MOVES):
        here = states[playing]
        found, states[playing] = advance(opponent, here, choose(here), np.full(len(here), moved), luck[playing, moved])
        returns[playing] += REWARDS[found]
        outcomes[playing] = found
        moves[playing] += 1
        playing = playing[found == Outcome.ORDINARY]
    return Played(returns, outcomes, moves)


def follow(policy: NDArray[np.int64]) -> Choose:
    """Plays a policy [N_STATES]."""
    return lambda states: policy[states]


def random_player(seed: int) -> Choose:
    """Every move is any of the 24 actions, most of them illegal."""
    rng = np.random.default_rng(seed)
    return lambda states: rng.integers(N_ACTIONS, size=len(states))


def compare(folder: Path, opponent: Variant, n: int, seed: int) -> list[tuple[str, Played, float | None]]:
    """An agent beside optimal and random play in the same games: name, games, and expected return where it is exact.

    Raises:
        UserError: the folder isn't that of an agent of this task.
    """
    network, about = load_network(folder)
    if (about.task, about.n_inputs, about.n_actions) != (TASK, N_INPUTS, N_ACTIONS):
        raise UserError(f"The agent in {folder} plays {about.task}, not the rook endgame.", REMEDY)
    policies = {folder.name: greedy_policy(network), "optimal play": value_iteration(1.0, opponent).argmax(axis=1)}
    rows: list[tuple[str, Played, float | None]] = [
        (name, sample_games(follow(policy), n, seed, opponent), play_out(policy, opponent).mean_return)
        for name, policy in policies.items()
    ]
    return [*rows, ("random play", sample_games(random_player(seed), n, seed, opponent), None)]
