"""Synthetic trajectories that end on a tile of each class: what concept vectors are means of (Han, Chalmers & Izmailov
2026, arXiv 2605.30232).

Each has a fresh maze, without wind and melting. It begins at the maze's start, walks at random over Path and with its
last step enters Mold, Gold or Path. Lengths are balanced from 1 to 15 in each class, and at each length the directions
of the last step. These the paper leaves to chance. Mazes prefer none, so that means over many trajectories are the
same; over few, classes differ by which letters happened to be drawn, more than by the tiles.

A walk goes to every Path beside it with the same probability, *given* that its last step can be taken to a tile of its
class in its direction. The authors' code draws walks until one ends well; here such walks are drawn at once, by how
probable it is from every cell to end well. Where no walk of the length does
(the start lies alone in Mold; no Gold is near enough, or only at distances of the other parity, since every step
changes that of x + y), the maze is drawn anew. So mazes of short walks to Gold have more Gold near the start than
others. The paper doesn't say how it comes to balanced lengths; the code goes through one set of mazes and leaves out
what none of them has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.maze import MOVES, Maze, MazeConfig, Seed, Tile, draw_maze, generator, numbered

SEED = 474_747
"""The paper's."""
PER_CLASS = 5000
LONGEST = 15
PATIENCE = 10_000
"""Mazes that are drawn for one trajectory before a class is said not to be reached."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Moves in a maze.

    Attributes:
        maze: where they begin.
        moves: indices into :data:`envs.maze.DIRECTIONS`.
        final: what the last one enters; those before enter Path.
    """

    maze: Maze
    moves: tuple[int, ...]
    final: Tile


def draw_trajectories(
    config: MazeConfig, final: Tile, n: int = PER_CLASS, seed: Seed = SEED, longest: int = LONGEST
) -> Iterator[Trajectory]:
    """Trajectories of one class, of lengths 1, 2, …, the longest with their last step to the north, then to the east, …

    Each comes from the seed, the class and its own number, so more of them begin with the same ones.

    Args:
        config: the mazes; wind and melting don't matter.
        final: the class.
        n: how many.
        seed: draws mazes and walks.
        longest: moves, at least 1 and at most the configured turns.

    Raises:
        ValueError: lengths out of range, or mazes that hardly ever have such a trajectory.
    """
    if not 1 <= longest <= config.turns:
        raise ValueError(
            f"the longest trajectory must have 1 to {config.turns} moves, the turns of a maze, not {longest}"
        )
    for index in range(n):
        turn, place = divmod(index, longest)
        length, last = place + 1, turn % len(MOVES)
        rng = generator(numbered(seed, final, index), "maze")
        for _ in range(PATIENCE):
            maze = draw_maze(config, rng)
            moves = draw_moves(maze, final, length, last, rng)
            if moves is not None:
                yield Trajectory(maze, moves, final)
                break
        else:
            raise ValueError(f"no {final.name.title()} {length} moves from the start in {PATIENCE} mazes")


def draw_moves(maze: Maze, final: Tile, length: int, last: int, rng: np.random.Generator) -> tuple[int, ...] | None:
    """A walk over Path whose last step, in a direction, enters a tile of a class; None if there is none so long."""
    # All that can be reached, and beyond the grid nothing: the start is in the middle.
    reach = length + 1
    (x, y), padded = maze.start, np.pad(maze.tiles, reach, constant_values=-1)
    tiles = padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1]
    chances = ending(tiles, final, length, last)
    at = (reach, reach)
    if not chances[-1][at]:
        return None
    moves = []
    for left in reversed(range(1, length)):
        beside = [(at[0] + dy, at[1] + dx) for dx, dy in MOVES]
        weights = np.array([chances[left - 1][cell] if tiles[cell] == Tile.PATH else 0 for cell in beside])
        moves.append(int(rng.choice(len(MOVES), p=weights / weights.sum())))
        at = beside[moves[-1]]
    return (*moves, last)


def ending(tiles: NDArray[np.int8], final: Tile, length: int, last: int) -> list[NDArray[np.float64]]:
    """The probability that a walk over Path, each step to any Path beside it alike, comes to where a class is next.

    Args:
        tiles: a part of a maze [rows, columns].
        final: the class.
        last: direction of the step to it.
        length: moves of the longest walk, its step to the class among them.

    Returns:
        For walks of 1, 2, …, length moves, the probability from every cell [rows, columns]; 0 at the edges.
    """
    path = tiles == Tile.PATH
    ways = _beside(path.astype(np.float64))
    dx, dy = MOVES[last]
    chances = [np.roll(tiles == final, (-dy, -dx), axis=(0, 1)).astype(np.float64)]
    for _ in range(length - 1):
        good = _beside(np.where(path, chances[-1], 0.0))
        chances.append(np.divide(good, ways, out=np.zeros_like(good), where=ways > 0))
    return chances


def _beside(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum over the four neighbours; 0 at the edges."""
    total = np.zeros_like(values)
    total[1:-1, 1:-1] = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:]
    return total
