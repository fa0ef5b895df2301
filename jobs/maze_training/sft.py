"""Learning from the best trajectories: the cross-entropy of their letters among the whole vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from envs.maze import MazeConfig, numbered
from envs.maze_plans import draw_plans
from envs.maze_prompts import draw_order, replay
from jobs.maze_training.config import TrainingConfig
from jobs.maze_training.policy import Policy
from jobs.maze_training.update import Learned, batches, descend

PLANS = 1
"""Behind a training's seed: the trajectories; play has another number there, so that it is in other mazes."""


@dataclass(frozen=True)
class Example:
    """A conversation, at which of its tokens letters are predicted, and which moves these are."""

    row: list[int]
    positions: list[int]
    moves: tuple[int, ...]


def example_numbers(config: TrainingConfig, step: int) -> list[int]:
    """Which trajectories a step has, counted from 1; each epoch has all of them, in an order of its own."""
    n = config.steps * config.examples
    per_epoch = -(-n // config.epochs)
    places = range((step - 1) * config.examples, step * config.examples)
    epochs = {place // per_epoch for place in places}
    orders = {epoch: np.random.default_rng((config.seed, PLANS, epoch)).permutation(per_epoch) for epoch in epochs}
    return [int(orders[place // per_epoch][place % per_epoch]) for place in places]


def draw_example(policy: Policy, maze: MazeConfig, seed: int, number: int) -> Example:
    """A trajectory as it is told, from the training's seed and its own number."""
    own = numbered(seed, PLANS, number)
    (plan,) = draw_plans(maze.still, 1, own)
    texts = replay(maze, plan.maze, plan.moves, draw_order(own))
    row, positions = policy.dialogue.whole(texts, plan.moves)
    return Example(row, positions, plan.moves)


def draw_examples(policy: Policy, config: TrainingConfig, step: int) -> Iterator[Example]:
    """The trajectories of a step, counted from 1."""
    for number in example_numbers(config, step):
        yield draw_example(policy, config.maze, config.seed, number)


def learn_examples(
    policy: Policy, optimiser: torch.optim.Optimizer, examples: list[Example], config: TrainingConfig
) -> Learned:
    """Descend the mean cross-entropy of the examples' letters: one step of the optimiser."""
    letters = torch.tensor(policy.dialogue.letters, device=policy.engine.device)
    n_moves = sum(len(example.moves) for example in examples)
    loss = 0.0
    for part in batches(np.arange(len(examples)), config.batch_size):
        some = [examples[index] for index in part]
        logits = policy.logits([example.row for example in some], [example.positions for example in some])
        targets = letters[torch.tensor([example.moves for example in some], device=letters.device)]
        part_loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum") / n_moves
        part_loss.backward()  # type: ignore[no-untyped-call]
        loss += part_loss.item()
    return Learned(loss, descend(policy, optimiser, config.max_gradient))
