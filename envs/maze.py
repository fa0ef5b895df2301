"""The maze of Han, Chalmers & Izmailov (2026, arXiv 2605.30232): tiles that mean nothing are rewarded and punished.

On a square grid every cell is Path, Mold or Gold. A player moves north, east, south or west (y grows to the south) for
a fixed number of turns. Entering Gold consumes it (it becomes Path), entering Mold ends nothing. A tile that is left
melts to Mold. After a move a wind may push the player one cell further; what that enters counts, and what it leaves
melts, too. No move leads off the grid, and a wind that would has no effect. Every turn costs a little.

What the paper leaves open follows the authors' released code, as far as it says:

- each step of the walk that digs the Path goes to one of the neighbours within the interior, all alike;
- Gold lies on Path of the interior; the outermost ring is Mold for ever;
- the start is the first Path that a breadth-first search from the middle meets, whatever tiles lie between; Gold isn't
  Path;
- the start melts when it is left, as Path does.

Where the two differ, the paper is followed: the Mold that remains may be as much as half of the interior (the code
stops a cell or two before), and a rollout pays for its turns (the code for one more, the same for every rollout).

========  =======================  ======  ======  ======
variant   as in the paper's        Path    Mold    Gold
========  =======================  ======  ======  ======
standard  main runs                🧾      📇      📐
swap      instruct models, swap    🧾      📐      📇
shuffle   base models, shuffle     📐      🧾      📇
custom                             what the configuration says
========  =======================  ======  ======  ======

The paper doesn't say what Path is where the tiles are shuffled: it is the one that is left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from functools import cache
from itertools import accumulate
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

DIRECTIONS = ("north", "east", "south", "west")
"""Where each action leads, in their order."""
MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))
"""What each action adds to x and y."""
NOWHERE = -1
"""In place of a tile: beyond the grid."""
CALM = -1
"""In place of a direction: no wind."""
STREAMS = MappingProxyType({"maze": 0, "wind": 1, "order": 2})
"""What is drawn from a maze's seed, apart: its tiles, its rollouts' winds, the order in which prompts list tiles."""
LEAST, MOST = 0.1, 0.5
"""Share of the interior that is Mold after the conversion: above the one, at most the other."""
WALK = (5, 15)
"""Steps of the walk that digs the Path, at least and at most, times the interior's side."""
Seed = int | Sequence[int]


class Tile(IntEnum):
    """What a cell is."""

    MOLD = 0
    PATH = 1
    GOLD = 2


class Variant(StrEnum):
    """What the tiles look like."""

    STANDARD = "standard"
    SWAP = "swap"
    SHUFFLE = "shuffle"
    CUSTOM = "custom"


RECEIPT, CARDS, RULER = "\N{RECEIPT}", "\N{CARD INDEX}", "\N{TRIANGULAR RULER}"
GLYPHS = MappingProxyType(
    {
        Variant.STANDARD: (CARDS, RECEIPT, RULER),
        Variant.SWAP: (RULER, RECEIPT, CARDS),
        Variant.SHUFFLE: (RECEIPT, RULER, CARDS),
    }
)
"""Mold, Path and Gold of each variant."""


@dataclass(frozen=True)
class MazeConfig:
    """Mazes, their rules and their rewards.

    Raises:
        ValueError: a number out of range, or tiles that can't be told apart or aren't the variant's to choose.
    """

    variant: Variant = Variant.STANDARD
    """What the tiles look like."""
    size: int = 100
    """Cells along each side; the outermost ring is Mold."""
    turns: int = 15
    """Moves in one rollout."""
    wind_probability: float = 0.1
    """That a wind follows a move; 0 is no wind."""
    melting: bool = True
    """Tiles that are left become Mold."""
    gold_ratio: float = 0.2
    """Gold for each Mold of the interior (the authors' code has 0.5 as its default, the paper's runs 0.2)."""
    turn_reward: float = -0.1
    """For every turn."""
    gold_reward: float = 20.0
    """For every Gold that is entered."""
    mold_reward: float = -10.0
    """For every Mold that is entered."""
    path_tile: str = ""
    """What Path looks like, for the variant ``custom`` alone."""
    mold_tile: str = ""
    """What Mold looks like, likewise."""
    gold_tile: str = ""
    """What Gold looks like, likewise."""

    def __post_init__(self) -> None:
        if self.size < 4:
            raise ValueError(f"size must be at least 4, for an interior of 2 x 2, not {self.size}")
        if self.turns < 1:
            raise ValueError(f"turns must be at least 1, not {self.turns}")
        if not 0 <= self.wind_probability <= 1:
            raise ValueError(f"wind_probability must lie in [0, 1], not {self.wind_probability}")
        if not 0 < self.gold_ratio < 1:  # with 1, half of the interior Mold would leave no Path
            raise ValueError(f"gold_ratio must lie between 0 and 1, not {self.gold_ratio}")
        if not np.isfinite([self.turn_reward, self.gold_reward, self.mold_reward]).all():
            raise ValueError("rewards must be finite")
        custom = (self.mold_tile, self.path_tile, self.gold_tile)
        if self.variant is not Variant.CUSTOM:
            if any(custom):
                raise ValueError(f"the variant {self.variant.value!r} has tiles of its own: 'custom' takes others")
        elif len(set(custom)) < len(Tile) or any(not glyph or glyph != glyph.strip() for glyph in custom):
            raise ValueError(
                "the variant 'custom' needs a path_tile, a mold_tile and a gold_tile, all different, without spaces "
                f"around them, not {self.path_tile!r}, {self.mold_tile!r} and {self.gold_tile!r}"
            )

    @property
    def glyphs(self) -> tuple[str, ...]:
        """What each :class:`Tile` looks like, in their order."""
        if self.variant is Variant.CUSTOM:
            return self.mold_tile, self.path_tile, self.gold_tile
        return GLYPHS[self.variant]

    @property
    def still(self) -> MazeConfig:
        """The same without wind and melting, as plans and synthetic trajectories have it."""
        return replace(self, wind_probability=0.0, melting=False)


@dataclass(frozen=True, eq=False)
class Maze:
    """A maze before anyone has moved.

    Attributes:
        tiles: a :class:`Tile` for every cell [size (y), size (x)], int8; the first row is the north.
        start: x and y.
    """

    tiles: NDArray[np.int8]
    start: tuple[int, int]


def generator(seed: Seed, stream: str) -> np.random.Generator:
    """What a maze's seed draws of one of :data:`STREAMS`, whatever is drawn of the others."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(STREAMS[stream],)))


def numbered(seed: Seed, *numbers: int) -> tuple[int, ...]:
    """The seed of one of many that a seed stands for."""
    return (*np.atleast_1d(np.asarray(seed)).tolist(), *numbers)


def draw_maze(config: MazeConfig, rng: np.random.Generator) -> Maze:
    """A maze with a start, drawn as the paper does (its appendix J.1)."""
    inner = config.size - 2
    neighbours = _walk_table(inner)
    cell = int(rng.integers(inner * inner))
    steps = rng.integers(WALK[0] * inner, WALK[1] * inner, endpoint=True)
    draws = rng.integers(len(neighbours[0]), size=steps).tolist()
    tiles = np.full(inner * inner, Tile.MOLD, np.int8)
    tiles[list(accumulate(draws, lambda at, draw: neighbours[at][draw], initial=cell))] = Tile.PATH

    mold = np.flatnonzero(tiles == Tile.MOLD)
    most = int(MOST * len(tiles))
    if len(mold) > most:
        remaining = int(rng.integers(int(LEAST * len(tiles)) + 1, most, endpoint=True))
        tiles[rng.choice(mold, len(mold) - remaining, replace=False)] = Tile.PATH
    n_gold = max(1, int(config.gold_ratio * np.count_nonzero(tiles == Tile.MOLD)))
    tiles[rng.choice(np.flatnonzero(tiles == Tile.PATH), n_gold, replace=False)] = Tile.GOLD

    grid = np.full((config.size, config.size), Tile.MOLD, np.int8)
    grid[1:-1, 1:-1] = tiles.reshape(inner, inner)
    return Maze(grid, _start(grid))


def draw_wind(config: MazeConfig, rollouts: int, rng: np.random.Generator) -> NDArray[np.int8]:
    """Where the wind comes from after each move of some rollouts, or :data:`CALM` [rollouts, turns].

    A rollout's winds don't depend on how many others there are behind it.
    """
    draws = rng.random((rollouts, config.turns, 2))
    sources = (draws[..., 1] * len(DIRECTIONS)).astype(np.int8)
    return np.where(draws[..., 0] < config.wind_probability, sources, np.int8(CALM))


@cache
def _walk_table(inner: int) -> list[list[int]]:
    """For each cell of an interior, 12 neighbours within it: each of its 2, 3 or 4 as often as the others."""
    table = []
    for y in range(inner):
        for x in range(inner):
            near = [(x + dx, y + dy) for dx, dy in MOVES]
            cells = [b * inner + a for a, b in near if 0 <= a < inner and 0 <= b < inner]
            table.append(cells * (12 // len(cells)))
    return table


def _start(tiles: NDArray[np.int8]) -> tuple[int, int]:
    """The Path nearest to the middle; of several, the first that a search to the north, south, east and west meets."""
    size = len(tiles)
    middle = (size // 2, size // 2)
    queue, met = deque([middle]), {middle}
    while True:  # there is Path: half of the interior at least was dug, and less than there is Mold became Gold
        x, y = queue.popleft()
        if tiles[y, x] == Tile.PATH:
            return x, y
        for a, b in ((x, y - 1), (x, y + 1), (x + 1, y), (x - 1, y)):
            if 0 <= a < size and 0 <= b < size and (a, b) not in met:
                met.add((a, b))
                queue.append((a, b))
