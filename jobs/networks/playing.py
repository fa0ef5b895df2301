"""A Q network plays games side by side, greedily, and its activations are captured at every decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.game import Game
from jobs.inference.base import StreamEdit
from jobs.networks.player import Player

Progress = Callable[[int], None]
"""Told how many more decisions have been made."""
Take = Callable[[dict[int, Tensor]], None]
"""Given the captured blocks of each batch of rollouts, in their order, as block to [b, T, d]."""


class SeenGame(Game, Protocol):
    """A game that is seen as numbers, not told as text."""

    @property
    def state(self) -> int:
        """The state now, in the task's own numbering."""

    @property
    def observation(self) -> NDArray[Any]:
        """What its player sees before the next decision."""

    @property
    def outcomes(self) -> Sequence[Enum]:
        """How each finished game ended, where the task has names for that, else empty; 0 is for a game that goes on."""


def play_games(
    player: Player,
    games: Sequence[SeenGame],
    *,
    capture: Sequence[int] = (),
    take: Take | None = None,
    edit: StreamEdit | None = None,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> list[NDArray[np.float32]]:
    """Let the player play all ``games`` to their end, and return what it thought of each.

    Args:
        player: the network.
        games: fresh ones; they are advanced. With captures, all must have the same number of decisions.
        capture: blocks that ``take`` is given.
        take: takes each batch's activations, once its games are at their end.
        edit: a change made at every decision.
        batch_size: games played side by side.
        progress: told of the decisions made.

    Returns:
        The Q-values at each game's decisions, [T, actions] a game, in the network's units.
    """
    found: list[NDArray[np.float32]] = []
    for first in range(0, len(games), batch_size):
        batch = games[first : first + batch_size]
        q_values, activations = _play(player, batch, capture, edit, progress)
        found += q_values
        if take is not None:
            take(activations)
    return found


def _play(
    player: Player,
    games: Sequence[SeenGame],
    capture: Sequence[int],
    edit: StreamEdit | None,
    progress: Progress | None,
) -> tuple[list[NDArray[np.float32]], dict[int, Tensor]]:
    thought: list[list[NDArray[np.float32]]] = [[] for _ in games]
    seen: dict[int, list[Tensor]] = {block: [] for block in capture}
    playing = list(range(len(games)))
    while playing:
        look = player.look(np.stack([games[index].observation for index in playing]), capture, edit)
        for block, activations in look.activations.items():
            seen[block].append(activations)
        rows = look.q.numpy()
        for index, q, action in zip(playing, rows, rows.argmax(1).tolist(), strict=True):
            games[index].observe()
            games[index].act(action)
            thought[index].append(q)
        if progress is not None:
            progress(len(playing))
        playing = [index for index in playing if not games[index].done]
    return [np.stack(rows) for rows in thought], {block: torch.stack(parts, 1) for block, parts in seen.items()}
