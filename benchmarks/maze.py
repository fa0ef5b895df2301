"""Turns a second of many rollouts of the maze at once, beside one rollout after another in plain Python.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/maze.py

What a trainer needs of a turn: what each rollout sees, which directions are offered, the move, the wind, the reward.
Mazes of size 100 with wind and melting, 8 with 64 rollouts each, moves at random; drawing mazes isn't counted, setting
up the rollouts is. The peer plays the same rollouts with the same moves and winds, and must come to the same returns;
it keeps what has changed in a dictionary over the shared maze. Both take turns within one process of one thread, by
processor time. Beside that: what the turns' texts take, and a maze, a plan and a trajectory.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from numpy.typing import NDArray

from envs.maze import CALM, MOVES, NOWHERE, Maze, MazeConfig, Tile, draw_maze, draw_wind, generator
from envs.maze_plans import draw_plans
from envs.maze_prompts import draw_order, turn_texts
from envs.maze_rollouts import Mazes
from envs.maze_trajectories import draw_trajectories

LIMIT = 5.0
"""Times the peer's turns a second, at least."""
Moves = NDArray[np.int64]


class OneRollout:
    """A single player: the maze is shared, its changes are its own."""

    def __init__(self, config: MazeConfig, rows: list[list[int]], start: tuple[int, int]) -> None:
        self.config, self.rows, self.size = config, rows, len(rows)
        self.x, self.y = start
        self.changed: dict[tuple[int, int], int] = {}

    def tile(self, x: int, y: int) -> int:
        if not (0 <= x < self.size and 0 <= y < self.size):
            return NOWHERE
        return self.changed.get((x, y), self.rows[y][x])

    def seen(self) -> list[int]:
        return [self.tile(self.x + dx, self.y + dy) for dx, dy in MOVES]

    def enter(self, x: int, y: int) -> float:
        if self.config.melting:
            self.changed[self.x, self.y] = Tile.MOLD
        self.x, self.y = x, y
        entered = self.tile(x, y)
        if entered == Tile.GOLD:
            self.changed[x, y] = Tile.PATH
            return self.config.gold_reward
        return self.config.mold_reward if entered == Tile.MOLD else 0.0

    def step(self, move: int, source: int) -> float:
        dx, dy = MOVES[move]
        reward = self.config.turn_reward + self.enter(self.x + dx, self.y + dy)
        if source != CALM:
            dx, dy = MOVES[source]
            if self.tile(self.x - dx, self.y - dy) != NOWHERE:
                reward += self.enter(self.x - dx, self.y - dy)
        return reward


def together(config: MazeConfig, mazes: list[Maze], wind: NDArray[np.int8], moves: Moves) -> NDArray[np.float64]:
    batch = Mazes(config, mazes, wind)
    for actions in moves:
        assert batch.offered.any(1).all()
        batch.step(actions)
    return batch.returns


def one_by_one(config: MazeConfig, mazes: list[Maze], wind: NDArray[np.int8], moves: Moves) -> NDArray[np.float64]:
    returns = []
    columns, rollouts = moves.T.tolist(), wind.shape[1]
    for group, maze in enumerate(mazes):
        rows = maze.tiles.tolist()
        for index, winds in enumerate(wind[group].tolist()):
            player, total = OneRollout(config, rows, maze.start), 0.0
            for move, source in zip(columns[group * rollouts + index], winds, strict=True):
                offered = [tile != NOWHERE for tile in player.seen()]
                assert any(offered)
                total += player.step(move, source)
            returns.append(total)
    return np.array(returns)


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def texts(config: MazeConfig, seeds: range, rollouts: int) -> float:
    batch, orders = Mazes.seeded(config, seeds, rollouts), [draw_order(seed) for seed in seeds]
    return len(batch) / seconds(lambda: turn_texts(batch, orders))[0]


def quartiles(values: list[float]) -> list[float]:
    """Median, lower and upper quartile."""
    return [float(value) for value in np.percentile(values, [50, 25, 75])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mazes", type=int, default=8)
    parser.add_argument("--rollouts", type=int, default=64, help="of each maze")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/maze.json"))
    wanted = parser.parse_args()
    config, n = MazeConfig(), wanted.mazes * wanted.rollouts
    rates: dict[str, list[float]] = {"turns_per_second": [], "one_by_one": [], "ratio": [], "texts_per_second": []}
    for number in range(wanted.rounds + 1):
        seeds = range(number * wanted.mazes, (number + 1) * wanted.mazes)
        mazes = [draw_maze(config, generator(seed, "maze")) for seed in seeds]
        wind = np.stack([draw_wind(config, wanted.rollouts, generator(seed, "wind")) for seed in seeds])
        moves = np.random.default_rng(number).integers(len(MOVES), size=(config.turns, n))
        ours, own = seconds(lambda given=(mazes, wind, moves): together(config, *given))
        theirs, other = seconds(lambda given=(mazes, wind, moves): one_by_one(config, *given))
        np.testing.assert_allclose(own, other, atol=1e-9)
        told = texts(config, seeds, wanted.rollouts)
        if number:  # the first round warms up
            turns = n * config.turns
            for key, rate in zip(rates, (turns / ours, turns / theirs, theirs / ours, told), strict=True):
                rates[key].append(rate)
    small = MazeConfig(size=31)
    milliseconds = {
        "maze": seconds(lambda: [draw_maze(config, generator(seed, "maze")) for seed in range(200)])[0] / 200,
        "plan_size_31": seconds(lambda: list(draw_plans(small, 200, 0)))[0] / 200,
        **{
            f"trajectory_to_{tile.name.lower()}": seconds(lambda to=tile: list(draw_trajectories(config, to, 200)))[0]
            / 200
            for tile in Tile
        },
    }
    found = {key: quartiles(values) for key, values in rates.items()}
    results = {
        "machine": machine(["numpy"]),
        "mazes": wanted.mazes,
        "rollouts": wanted.rollouts,
        "limit": LIMIT,
        **found,
        "milliseconds": {key: 1e3 * value for key, value in milliseconds.items()},
        "rounds": rates,
    }
    print(
        f"{found['turns_per_second'][0]:,.0f} turns/s, one by one {found['one_by_one'][0]:,.0f}, "
        f"{found['ratio'][0]:.1f} x; {found['texts_per_second'][0]:,.0f} texts/s"
    )
    print(", ".join(f"{key}: {1e3 * value:.2f} ms" for key, value in milliseconds.items()))
    wanted.out.write_text(json.dumps(results, indent=1) + "\n")
    if found["ratio"][0] < LIMIT:
        sys.exit(f"fewer than {LIMIT:g} times the peer's turns")


if __name__ == "__main__":
    main()
