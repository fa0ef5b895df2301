"""Moves a second of the rook endgame's vectorised games, beside Gymnasium's own vectoriser around single games.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/rook_endgame.py

Whole steps, with observations, infos and new games where one ended. Two ways to play: every move one of the 24 at
random, so that many games end at once, and best play with one move in twenty at random, as in training. Both take turns
within one process of one thread. The limit is held against processor time, whoever else wants the processor; beside it
stands the median step by the clock on the wall. Last, what a rollout of 400 moves takes, told as text.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from machine import machine
from numpy.typing import NDArray

from envs.rook_endgame import N_ACTIONS
from envs.rook_games import RookEndgame, RookEndgameConfig, RookEndgameVector, RookGames
from envs.rook_values import best_values

LIMIT = 200_000
"""Moves a second, at least."""
Player = Callable[[NDArray[np.int64], np.random.Generator], NDArray[np.int64]]


def random_moves(states: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.integers(N_ACTIONS, size=len(states))


def training_moves(states: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    return np.where(rng.random(len(states)) < 0.05, random_moves(states, rng), best_moves()[states])


@cache
def best_moves() -> NDArray[np.int64]:
    return best_values().argmax(1)


class Spent(NamedTuple):
    processor: float
    median_step: float
    """By the clock on the wall."""


def seconds(env: VectorEnv[Any, Any, Any], player: Player, steps: int, seed: int) -> Spent:
    """What the environment's steps alone take."""
    rng, processor, walls = np.random.default_rng(seed), 0.0, []
    info = env.reset(seed=seed)[1]
    for _ in range(steps):
        actions = player(info["state"], rng)
        began, started = time.perf_counter(), time.process_time()
        info = env.step(actions)[4]
        processor += time.process_time() - started
        walls.append(time.perf_counter() - began)
    return Spent(processor, float(np.median(walls)))


def rollout_seconds(seed: int) -> float:
    best, game = best_moves(), RookGames(RookEndgameConfig(), seed)
    started = time.process_time()
    while not game.done:
        game.observe()
        game.act(int(best[game.state]))
    return time.process_time() - started


def quartiles(values: list[float]) -> list[float]:
    """Median, lower and upper quartile."""
    return [float(value) for value in np.percentile(values, [50, 25, 75])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--steps", type=int, default=400, help="of the vectorised games in a round; a tenth of the peer's"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/rook_endgame.json"))
    wanted = parser.parse_args()
    ours = RookEndgameVector(wanted.games)
    peer = SyncVectorEnv([RookEndgame] * wanted.games, autoreset_mode=AutoresetMode.SAME_STEP)
    results: dict[str, Any] = {"machine": machine(["gymnasium", "numpy"]), "games": wanted.games, "limit": LIMIT}
    slow = False
    for name, player in (("random", random_moves), ("training", training_moves)):
        few = max(1, wanted.steps // 10)
        own, theirs = [], []
        for seed in range(wanted.rounds + 1):
            own.append(seconds(ours, player, wanted.steps, seed))
            theirs.append(seconds(peer, player, few, seed))
        rates = {  # the first round warms up
            "moves_per_second": [wanted.games * wanted.steps / spent.processor for spent in own[1:]],
            "moves_per_second_in_the_median_step": [wanted.games / spent.median_step for spent in own[1:]],
            "SyncVectorEnv_moves_per_second": [wanted.games * few / spent.processor for spent in theirs[1:]],
        }
        pairs = zip(rates["moves_per_second"], rates["SyncVectorEnv_moves_per_second"], strict=True)
        rates["ratio"] = [a / b for a, b in pairs]
        found = {key: quartiles(values) for key, values in rates.items()}
        results[name] = {**found, "rounds": rates}
        slow |= found["moves_per_second"][0] < LIMIT
        rate, at_median, peers, ratio = (values[0] for values in found.values())
        print(
            f"{name}: {rate:,.0f} moves/s ({at_median:,.0f} in the median step, by the wall clock), "
            f"SyncVectorEnv {peers:,.0f}, {ratio:.1f} x"
        )
    results["rollout_of_400_moves_seconds"] = quartiles([rollout_seconds(seed) for seed in range(4 * wanted.rounds)])
    print(f"rollout of 400 moves: {1e3 * results['rollout_of_400_moves_seconds'][0]:.1f} ms")
    wanted.out.write_text(json.dumps(results, indent=1) + "\n")
    if slow:
        sys.exit(f"fewer than {LIMIT:,} moves/s")


if __name__ == "__main__":
    main()
