"""The most Gold that a maze yields in its turns: trajectories to fine-tune on (Han, Chalmers & Izmailov 2026).

There is no wind and nothing melts, as in the paper's fine-tuning data; the paper draws these mazes with size 31. Which
Gold to fetch in which order is an orienteering problem, solved exactly over sets of Gold: the fewest moves that visit a
set and end on one of it. What the paper leaves open follows the authors' released code, except where said:

- Mold is never entered, though one Gold would pay for it;
- among the Gold within reach only the nearest 15 are fetched on purpose, by distance and then from west to east and
  from north to south. What is passed on the way is collected, too. A plan is the best there is if no more are in reach
  (over the nearest 62, 6 % of 500 plans had more Gold);
- of several plans with equally much Gold one with the fewest moves is taken, and of several shortest ways between two
  Golds one at random (the code takes the first that a search meets, which prefers some directions to others);
- turns that remain are spent wandering over what isn't Mold: at random among neighbours other than the last three
  cells, or among all where there are no others. Gold that wandering meets is collected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.maze import MOVES, Maze, MazeConfig, Seed, Tile, draw_maze, generator, numbered

MAX_GOLDS = 15
"""Gold that a plan is made over."""
RECENT = 3
"""Cells that wandering avoids to go back to."""


class NoWay(ValueError):
    """The start has nothing but Mold around it."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A trajectory for all turns.

    Attributes:
        maze: where it begins.
        moves: indices into :data:`envs.maze.DIRECTIONS`, one a turn.
        gold: how much Gold it collects in all.
        planned: how much of it on purpose.
        needed: the moves that this takes; the others are spent wandering.
    """

    maze: Maze
    moves: tuple[int, ...]
    gold: int
    planned: int
    needed: int


def draw_plans(config: MazeConfig, n: int, seed: Seed, max_golds: int = MAX_GOLDS) -> Iterator[Plan]:
    """Plans for n fresh mazes; each from the seed and its own number, so more of them begin with the same ones.

    A maze whose start has nothing but Mold around it is drawn anew.
    """
    for index in range(n):
        rng = generator(numbered(seed, index), "maze")
        while True:
            maze = draw_maze(config, rng)
            try:
                yield best_plan(maze, config.turns, rng, max_golds)
            except NoWay:
                continue
            break


def best_plan(maze: Maze, turns: int, rng: np.random.Generator, max_golds: int = MAX_GOLDS) -> Plan:
    """The trajectory with the most Gold, see the module's description.

    Args:
        maze: what is played.
        turns: moves.
        rng: draws ways among equals and what is wandered.
        max_golds: among how many of the nearest Golds the plan is the best.

    Raises:
        NoWay: the start has nothing but Mold around it.
        ValueError: no turns, or ``max_golds`` isn't from 1 to 62.
    """
    if turns < 1:
        raise ValueError(f"there must be turns, not {turns}")
    if not 1 <= max_golds <= 62:
        raise ValueError(f"max_golds must lie from 1 to 62, for sets as bits of an integer, not {max_golds}")
    ground = np.pad(maze.tiles != Tile.MOLD, 1)
    gold = np.pad(maze.tiles == Tile.GOLD, 1)
    start = (maze.start[1] + 1, maze.start[0] + 1)
    if not any(ground[start[0] + dy, start[1] + dx] for dx, dy in MOVES):
        raise NoWay(f"the start {maze.start} has nothing but Mold around it")
    near = distances(ground, [start], turns)[0]
    golds = np.argwhere(gold & (near >= 0))
    golds = golds[np.lexsort((golds[:, 0], golds[:, 1], near[tuple(golds.T)]))][:max_golds]
    nodes = [start, *((int(row), int(column)) for row, column in golds)]
    far = distances(ground, nodes, turns)
    between = far[:, [row for row, _ in nodes], [column for _, column in nodes]]
    order, needed = best_order(np.where(between < 0, turns + 1, between), turns)

    moves: list[int] = []
    for here, there in zip([0, *order], order, strict=False):
        moves += _way(far[here], nodes[there], rng)
    moves += _wander(ground, start, moves, turns, rng)
    return Plan(maze, tuple(moves), _collected(gold, start, moves), len(order), needed)


def distances(ground: NDArray[np.bool_], sources: list[tuple[int, int]], most: int) -> NDArray[np.int64]:
    """Fewest moves over the ground from each source to every cell, -1 where they are more than the most [sources, …].

    Args:
        ground: what may be entered [rows, columns]; nothing at its edges.
        sources: rows and columns.
        most: moves.
    """
    far = np.full((len(sources), *ground.shape), -1)
    reached = np.zeros(far.shape, np.bool_)
    rows, columns = zip(*sources, strict=True)
    reached[range(len(sources)), rows, columns] = True
    far[reached] = 0
    for moves in range(1, most + 1):
        spread = np.zeros_like(reached)
        for axis in (1, 2):
            for shift in (-1, 1):
                spread |= np.roll(reached, shift, axis)
        reached = spread & ground & (far < 0)
        if not reached.any():
            break
        far[reached] = moves
    return far


def best_order(between: NDArray[np.int64], most: int) -> tuple[list[int], int]:
    """Which places to visit in which order, as many as there can be: dynamic programming over sets of them.

    Args:
        between: moves from place to place [1 + k, 1 + k]; the first one is where one begins, and isn't visited.
        most: moves in all.

    Returns:
        The places, numbered from 1, and the moves that this takes: the fewest for as many places.
    """
    k = len(between) - 1
    step = between[1:, 1:]
    # Level by level: sets of as many places that can be visited, and with which moves, by the last place.
    sets = 1 << np.arange(k)
    cost = np.where(np.eye(k, dtype=bool), between[0, 1:], most + 1)
    sets, cost = sets[(cost <= most).any(1)], cost[(cost <= most).any(1)]
    levels: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    while len(sets):
        levels.append((sets, cost))
        larger, reached, ends = [], [], []
        for place in range(k):
            lacking = sets >> place & 1 == 0
            fewest = (cost[lacking] + step[:, place]).min(1)
            fits = fewest <= most
            larger.append(sets[lacking][fits] | 1 << place)
            reached.append(fewest[fits])
            ends.append(np.full(fits.sum(), place))
        sets, row = np.unique(np.concatenate(larger), return_inverse=True)
        cost = np.full((len(sets), k), most + 1)
        cost[row, np.concatenate(ends)] = np.concatenate(reached)
    if not levels:
        return [], 0

    sets, cost = levels.pop()
    at, place = (int(index) for index in np.unravel_index(cost.argmin(), cost.shape))
    visited, needed = int(sets[at]), int(cost[at, place])
    order = [place + 1]
    for sets, cost in reversed(levels):  # the last place's predecessor is the one that makes its cost
        visited ^= 1 << place
        place = int((cost[np.searchsorted(sets, visited)] + step[:, place]).argmin())
        order.insert(0, place + 1)
    return order, needed


def _way(far: NDArray[np.int64], target: tuple[int, int], rng: np.random.Generator) -> list[int]:
    """Moves of a shortest way, found from its end by the distances from its beginning [rows, columns]."""
    moves: list[int] = []
    row, column = target
    while far[row, column]:
        before = {move: (row - dy, column - dx) for move, (dx, dy) in enumerate(MOVES)}
        nearer = [move for move, cell in before.items() if far[cell] == far[row, column] - 1]
        moves.append(int(rng.choice(nearer)))
        row, column = before[moves[-1]]
    return moves[::-1]


def _cells(start: tuple[int, int], moves: list[int]) -> list[tuple[int, int]]:
    cells = [start]
    for move in moves:
        cells.append((cells[-1][0] + MOVES[move][1], cells[-1][1] + MOVES[move][0]))
    return cells


def _wander(
    ground: NDArray[np.bool_], start: tuple[int, int], moves: list[int], turns: int, rng: np.random.Generator
) -> list[int]:
    cells = _cells(start, moves)
    added: list[int] = []
    while len(moves) + len(added) < turns:
        row, column = cells[-1]
        ways = {move: (row + dy, column + dx) for move, (dx, dy) in enumerate(MOVES) if ground[row + dy, column + dx]}
        fresh = [move for move, cell in ways.items() if cell not in cells[-RECENT - 1 :]]
        added.append(int(rng.choice(fresh or list(ways))))
        cells.append(ways[added[-1]])
    return added


def _collected(gold: NDArray[np.bool_], start: tuple[int, int], moves: list[int]) -> int:
    return sum(bool(gold[cell]) for cell in set(_cells(start, moves)))
