"""Heads tried a second in training a search's policy, beside the library's own training with the same network.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/head_search.py

Scores come from tables, so that nothing but the training is measured: 12 blocks of 12 heads, 50 steps an episode, 8
episodes side by side, as published. The library's own draws one head a step, and so does ours at K = 1; at K = 5 five
are asked for and the best is taken. All take turns within one process of one thread. The limit is held against
processor time, whoever else wants the processor.
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
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv

from envs.head_ablation import HeadAblation, TableScores
from jobs.circuits.ppo import Trunk, train_policy
from jobs.circuits.search_config import SearchConfig

LIMIT = 1_500
"""Heads tried a second at K = 1, at least."""
BLOCKS, HEADS, STEPS, TASKS = 12, 12, 50, ("induction", "ioi")
TABLES = {
    task: [
        TableScores(rng.gamma(0.3, size=BLOCKS * HEADS), np.zeros(BLOCKS * HEADS), 1.0, BLOCKS, HEADS)
        for rng in map(np.random.default_rng, range(64))
    ]
    for task in TASKS
}


def deal(task: str, seed: int) -> TableScores:
    return TABLES[task][seed % 64]


def train_ours(best_of: int, transitions: int, seed: int) -> None:
    train_policy(SearchConfig(best_of, transitions, seed=seed), deal, BLOCKS, HEADS, STEPS, TASKS)


def train_theirs(transitions: int, seed: int) -> None:
    config = SearchConfig()
    ppo = MaskablePPO(
        MaskableActorCriticPolicy,
        DummyVecEnv([lambda: _Plain(deal, BLOCKS, HEADS, STEPS, TASKS)] * config.episodes),
        learning_rate=config.learning_rate,
        n_steps=STEPS,
        batch_size=config.episodes * STEPS // config.minibatches,
        n_epochs=config.epochs,
        ent_coef=config.entropy,
        policy_kwargs={
            "net_arch": [],
            "features_extractor_class": Trunk,
            "optimizer_kwargs": {"eps": config.adam_epsilon, "fused": True},
        },
        seed=seed,
        device="cpu",
    )
    ppo.learn(transitions, log_interval=None)  # type: ignore[arg-type]


class _Plain(HeadAblation):
    """Without the episode's seed in ``info``: the library takes ``episode`` for statistics."""

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return *super().step(action)[:4], {}


def rate(train: Callable[[int, int], None], transitions: int, seed: int) -> float:
    """Heads tried in a second of the processor's time."""
    started = time.process_time()
    train(transitions, seed)
    return transitions / (time.process_time() - started)


def quartiles(values: list[float]) -> list[float]:
    """Median, lower and upper quartile."""
    return [float(value) for value in np.percentile(values, [50, 25, 75])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transitions", type=int, default=4_000, help="of each training in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/head_search.json"))
    wanted = parser.parse_args()
    trainings: dict[str, Callable[[int, int], None]] = {
        "K=1": lambda transitions, seed: train_ours(1, transitions, seed),
        "K=5": lambda transitions, seed: train_ours(5, transitions, seed),
        "MaskablePPO": train_theirs,
    }
    rounds: dict[str, list[float]] = {name: [] for name in trainings}
    for seed in range(wanted.rounds + 1):
        for name, train in trainings.items():
            rounds[name].append(rate(train, wanted.transitions, seed))
    rounds = {name: rates[1:] for name, rates in rounds.items()}  # the first round warms up
    peer = rounds["MaskablePPO"]
    ratios = {name: [a / b for a, b in zip(rounds[name], peer, strict=True)] for name in ("K=1", "K=5")}
    results = {
        "machine": machine(["sb3-contrib", "stable-baselines3", "gymnasium", "numpy"]),
        "limit": LIMIT,
        "per_second": {name: quartiles(rates) for name, rates in rounds.items()},
        "ratio": {name: quartiles(values) for name, values in ratios.items()},
        "rounds": rounds,
    }
    for name, rates in rounds.items():
        print(f"{name}: {np.median(rates):,.0f} heads tried a second", end="")
        print(f", {np.median(ratios[name]):.2f} x the library's own" if name in ratios else "")
    wanted.out.write_text(json.dumps(results, indent=1) + "\n")
    if np.median(rounds["K=1"]) < LIMIT:
        sys.exit(f"fewer than {LIMIT:,} a second")


if __name__ == "__main__":
    main()
