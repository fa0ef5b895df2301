"""Many rollouts of many mazes, advanced together by the rules of :mod:`envs.maze`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from envs.maze import CALM, DIRECTIONS, MOVES, NOWHERE, Maze, MazeConfig, Seed, Tile, draw_maze, draw_wind, generator


class Mazes:
    """Many rollouts of many mazes, in step: every call moves each rollout once.

    Rollouts of the same maze are a group: they stand next to each other, so an array of them reshapes to
    [mazes, rollouts]. They share the maze as it begins, not what they make of it, and not the wind.

    Attributes:
        config: the rules.
        turn: how many moves each rollout has made.
        group: the index of each rollout's maze [n].
        gold: how many Gold each rollout entered in each turn, by its move and by the wind [n, turns].
        mold: how many Mold, likewise.
        blown: where the wind came from that moved each rollout in the last turn, or :data:`CALM` [n].

    Args:
        config: the rules.
        mazes: one for each group, of the configured size.
        wind: where the wind comes from after each move, or :data:`CALM` [mazes, rollouts, turns].

    Raises:
        ValueError: no mazes, one of another size, or winds of another shape.
    """

    def __init__(self, config: MazeConfig, mazes: Sequence[Maze], wind: NDArray[np.int8]) -> None:
        if not mazes or any(maze.tiles.shape != (config.size, config.size) for maze in mazes):
            raise ValueError(f"there must be mazes, all of size {config.size}")
        if wind.ndim != 3 or not wind.size or (len(wind), wind.shape[2]) != (len(mazes), config.turns):
            raise ValueError(
                f"winds have the shape [{len(mazes)}, rollouts, {config.turns}] (mazes, rollouts, turns), "
                f"not {list(wind.shape)}"
            )
        rollouts = wind.shape[1]
        self.config = config
        self.turn = 0
        self.group: NDArray[np.int64] = np.repeat(np.arange(len(mazes)), rollouts)
        self.gold: NDArray[np.int8] = np.zeros((len(self.group), config.turns), np.int8)
        self.mold: NDArray[np.int8] = np.zeros_like(self.gold)
        self.blown: NDArray[np.int8] = np.full(len(self.group), CALM, np.int8)
        self._wind = wind.reshape(-1, config.turns)
        # A ring of NOWHERE around each grid: neighbours are found by adding to the index of a cell among all.
        self._width = config.size + 2
        padded = np.full((len(mazes), self._width, self._width), NOWHERE, np.int8)
        padded[:, 1:-1, 1:-1] = [maze.tiles for maze in mazes]
        self._tiles: NDArray[np.int8] = padded[self.group].reshape(-1)
        self._steps: NDArray[np.int64] = np.array([dx + dy * self._width for dx, dy in MOVES])
        self._first: NDArray[np.int64] = np.arange(len(self.group)) * self._width**2
        starts = np.array([maze.start for maze in mazes])[self.group]
        self._cells: NDArray[np.int64] = self._first + (starts[:, 1] + 1) * self._width + starts[:, 0] + 1

    @classmethod
    def seeded(cls, config: MazeConfig, seeds: Sequence[Seed], rollouts: int) -> Mazes:
        """A maze for each seed. Tiles and winds of a group come from its seed alone, whatever else is in the batch.

        Raises:
            ValueError: no seeds or no rollouts.
        """
        if not len(seeds) or rollouts < 1:
            raise ValueError(f"there must be seeds and rollouts, not {len(seeds)} and {rollouts}")
        mazes = [draw_maze(config, generator(seed, "maze")) for seed in seeds]
        return cls(config, mazes, np.stack([draw_wind(config, rollouts, generator(seed, "wind")) for seed in seeds]))

    def __len__(self) -> int:
        return len(self.group)

    @property
    def done(self) -> bool:
        """All turns have been taken."""
        return self.turn == self.config.turns

    @property
    def x(self) -> NDArray[np.int64]:
        """Columns, from the west [n]."""
        return (self._cells - self._first) % self._width - 1

    @property
    def y(self) -> NDArray[np.int64]:
        """Rows, from the north [n]."""
        return (self._cells - self._first) // self._width - 1

    @property
    def seen(self) -> NDArray[np.int8]:
        """The :class:`Tile` in each of :data:`DIRECTIONS`, or :data:`NOWHERE` [n, 4]."""
        seen: NDArray[np.int8] = self._tiles[self._cells[:, None] + self._steps]
        return seen

    @property
    def offered(self) -> NDArray[np.bool_]:
        """Which directions there are to choose from: those that don't lead off the grid [n, 4]."""
        offered: NDArray[np.bool_] = self.seen != NOWHERE
        return offered

    @property
    def tiles(self) -> NDArray[np.int8]:
        """What each rollout has made of its maze [n, size, size]; a copy."""
        return self._tiles.reshape(-1, self._width, self._width)[:, 1:-1, 1:-1].copy()

    @property
    def rewards(self) -> NDArray[np.float64]:
        """What each turn so far has brought [n, turn]."""
        return self._rewards(slice(self.turn))

    @property
    def returns(self) -> NDArray[np.float64]:
        """Undiscounted sums of the rewards so far [n]."""
        returns: NDArray[np.float64] = self.rewards.sum(1)
        return returns

    def step(self, actions: NDArray[np.integer]) -> NDArray[np.float64]:
        """Moves each rollout, then lets the wind blow.

        Args:
            actions: an index into :data:`DIRECTIONS` for each rollout [n].

        Returns:
            The turn's rewards [n].

        Raises:
            ValueError: all turns have been taken, or an action isn't one of those offered. Nothing has moved then.
        """
        if self.done:
            raise ValueError(f"the rollouts are over: all {self.config.turns} turns have been taken")
        if actions.shape != self.group.shape or actions.dtype.kind not in "iu":
            raise ValueError(f"actions are {len(self)} integers, not {actions.dtype} {list(actions.shape)}")
        if actions.min() < 0 or actions.max() >= len(MOVES):
            raise ValueError(f"an action is a number from 0 to {len(MOVES) - 1}: {', '.join(DIRECTIONS)}")
        reached = self._cells + self._steps[actions]
        off = np.flatnonzero(self._tiles[reached] == NOWHERE)
        if len(off):
            raise ValueError(f"{DIRECTIONS[actions[off[0]]]} isn't offered to rollout {off[0]}: it leads off the grid")
        self._enter(np.arange(len(self)), reached)

        source = self._wind[:, self.turn]
        windy = np.flatnonzero(source != CALM)
        pushed = self._cells[windy] - self._steps[source[windy]]
        inside = self._tiles[pushed] != NOWHERE
        moved = windy[inside]
        self._enter(moved, pushed[inside])
        self.blown = np.full(len(self), CALM, np.int8)
        self.blown[moved] = source[moved]
        self.turn += 1
        return self._rewards(self.turn - 1)

    def _rewards(self, turns: int | slice) -> NDArray[np.float64]:
        gold, mold = (entered[:, turns].astype(np.float64) for entered in (self.gold, self.mold))
        return self.config.turn_reward + self.config.gold_reward * gold + self.config.mold_reward * mold

    def _enter(self, rollouts: NDArray[np.int64], cells: NDArray[np.int64]) -> None:
        if self.config.melting:
            self._tiles[self._cells[rollouts]] = Tile.MOLD  # no one stands on Gold: it was consumed when entered
        entered = self._tiles[cells]
        gold = entered == Tile.GOLD
        self._tiles[cells[gold]] = Tile.PATH
        self._cells[rollouts] = cells
        self.gold[rollouts, self.turn] += gold
        self.mold[rollouts, self.turn] += entered == Tile.MOLD
