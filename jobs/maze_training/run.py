"""Train a language model in the maze (Han, Chalmers & Izmailov 2026, arXiv 2605.30232), step by step.

Everything that is drawn comes from the seed and the step's number, so that a training that goes on after an
interruption goes on with the same numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from envs.maze import numbered
from jobs.inference.files import ModelFiles
from jobs.inference.fingerprint import hash_files
from jobs.maze_training.config import Algorithm, TrainingConfig
from jobs.maze_training.folder import Reached, TrainingFolder, read_curve
from jobs.maze_training.losses import advantages, shuffled_rewards
from jobs.maze_training.policy import Policy, load_policy, load_tokenizer
from jobs.maze_training.rollouts import Rollouts, deal, play
from jobs.maze_training.sft import draw_examples, learn_examples
from jobs.maze_training.update import Learned, learn

PLAY = 0
"""Behind a training's seed: the mazes that are played."""
STREAMS = {"luck": 16, "shuffle": 17, "minibatches": 18}
"""What is drawn in a step beside the mazes, apart from them and from each other."""
PACKAGES = ("torch", "transformers", "peft", "numpy")
"""Whose versions decide the weights."""


@dataclass(frozen=True)
class Point:
    """A step, as the curve has it. What was played was played before the step's learning; SFT seldom plays."""

    step: int
    mean_return: float | None
    """Of the rollouts, as the maze rewarded them, whatever is shuffled."""
    golds: float | None
    """Gold entered, a rollout's mean."""
    molds: float | None
    """Mold, likewise."""
    entropy: float | None
    """Of the policy among the directions offered, in nats, a move's mean."""
    loss: float
    """What was descended. Of SFT: cross-entropy of a letter, in nats."""
    gradient: float
    """Its norm, before it was cut."""
    equalised_entropy: float
    """Mean over the moves, in nats."""
    clipped: float
    """Share of the moves whose gradient a clip took away."""
    learning_rate: float
    entropy_weight: float


def train(
    files: ModelFiles,
    folder: Path,
    config: TrainingConfig,
    *,
    device: str = "auto",
    on_step: Callable[[Point], None] = lambda point: None,
    on_moves: Callable[[int], None] = lambda moves: None,
) -> bool:
    """Train a model, or go on where the same training was interrupted.

    The same configuration gives the same weights on the same hardware with as many threads.

    Args:
        files: the model.
        folder: see :mod:`jobs.maze_training.folder`.
        config: everything that decides the result.
        device: ``auto`` (the GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        on_step: told of each step, those before an interruption first.
        on_moves: told how many more moves have been played.

    Returns:
        False if there was nothing to do: the training was finished.

    Raises:
        UserError: the model can't play, or something else is in the folder.
    """
    tokenizer = load_tokenizer(files.folder)
    policy = load_policy(files.folder, tokenizer, config, device)  # before anything is written
    there = TrainingFolder(folder, about(files, config))
    if there.finished:
        return False
    optimiser = torch.optim.AdamW(policy.learned.values(), lr=config.learning_rate, weight_decay=config.weight_decay)
    reached = there.go_on(policy.learned, optimiser)
    for before in read_curve(folder):
        on_step(Point(**before))
    save = partial(policy.save, tokenizer=tokenizer)
    clock = _Clock(reached)
    for step in range(reached.step + 1, config.steps + 1):
        point = take_step(policy, optimiser, config, step, on_moves)
        there.add(asdict(point))
        on_step(point)
        if step % config.checkpoint_every == 0 and step < config.steps:
            there.keep(clock.at(step), policy.learned, optimiser, save)
    there.finish(clock.at(config.steps), save)
    return True


def about(files: ModelFiles, config: TrainingConfig) -> dict[str, Any]:
    """What is trained and how, with the versions that it depends on: a training goes on where this is the same."""
    return {
        "model": files.source,
        "fingerprint": hash_files(files.folder),
        "config": config.as_json(),
        "versions": {package: version(package) for package in PACKAGES},
    }


def curve_of(folder: Path) -> list[Point]:
    """The curve of a training that is finished."""
    return [Point(**point) for point in read_curve(folder)]


def take_step(
    policy: Policy,
    optimiser: torch.optim.Optimizer,
    config: TrainingConfig,
    step: int,
    on_moves: Callable[[int], None] = lambda moves: None,
) -> Point:
    """The step's play and its learning; steps are counted from 1."""
    falling = config.falling(step)
    rate, weight = config.learning_rate * falling, config.entropy * falling
    for group in optimiser.param_groups:
        group["lr"] = rate
    if config.algorithm is Algorithm.SFT:
        weight = 0.0
        plays = step % config.checkpoint_every == 0 or step in (1, config.steps)
        rollouts = step_rollouts(policy, config, step, on_moves) if plays else None
        learned = learn_examples(policy, optimiser, list(draw_examples(policy, config, step)), config)
        return _point(step, rollouts, learned, rate, weight)
    rollouts = step_rollouts(policy, config, step, on_moves)
    rewards = shuffled_rewards(rollouts.rewards, config.rollouts, config.shuffled, _generator(config, step, "shuffle"))
    worth = advantages(rewards, config.rollouts, config.algorithm)
    learned = learn(policy, optimiser, rollouts, worth, config, weight, _generator(config, step, "minibatches"))
    return _point(step, rollouts, learned, rate, weight)


def step_rollouts(
    policy: Policy, config: TrainingConfig, step: int, on_moves: Callable[[int], None] = lambda moves: None
) -> Rollouts:
    """What the policy plays in a step: fresh mazes, so many rollouts of each."""
    seeds = [numbered(config.seed, PLAY, step, maze) for maze in range(config.mazes)]
    dealt = deal(config.maze, seeds, config.rollouts, _generator(config, step, "luck"))
    return play(policy, config.maze, dealt, config.temperature, config.batch_size, on_moves)


def _generator(config: TrainingConfig, step: int, stream: str) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((config.seed, step), spawn_key=(STREAMS[stream],)))


def _point(step: int, rollouts: Rollouts | None, learned: Learned, rate: float, weight: float) -> Point:
    def mean(of: Callable[[Rollouts], NDArray[Any]]) -> float | None:
        return None if rollouts is None else float(of(rollouts).mean())

    return Point(
        step=step,
        mean_return=mean(lambda played: played.rewards.sum(1)),
        golds=mean(lambda played: played.gold.sum(1)),
        molds=mean(lambda played: played.mold.sum(1)),
        entropy=mean(lambda played: played.entropies),
        loss=learned.loss,
        gradient=learned.gradient,
        equalised_entropy=learned.equalised_entropy,
        clipped=learned.clipped,
        learning_rate=rate,
        entropy_weight=weight,
    )


class _Clock:
    """What a training has cost, with what it did before it was interrupted."""

    def __init__(self, reached: Reached) -> None:
        self._before = reached
        self._started, self._cpu_started = time.perf_counter(), time.process_time()

    def at(self, step: int) -> Reached:
        elapsed, cpu = time.perf_counter() - self._started, time.process_time() - self._cpu_started
        return Reached(step, self._before.seconds + elapsed, self._before.cpu_seconds + cpu)
