"""Let a policy play many mazes at once, and keep what learning needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from envs.maze import Maze, MazeConfig, Seed, draw_maze, draw_wind, generator
from envs.maze_prompts import draw_order, turn_texts
from envs.maze_rollouts import Mazes
from jobs.maze_training.losses import entropy, log_policy
from jobs.maze_training.policy import Policy


@dataclass(frozen=True, eq=False)
class Rollouts:
    """What n rollouts were; those of a maze stand side by side.

    Attributes:
        rows: tokens of each conversation, up to the one that predicts the last letter.
        positions: at which of them each letter is predicted [n, turns].
        actions: directions chosen [n, turns].
        offered: directions there were to choose from [n, turns, 4].
        seen: the tile in each direction, or :data:`envs.maze.NOWHERE` [n, turns, 4].
        log_probs: of the actions, when they were chosen [n, turns].
        probabilities: of all directions, when they were chosen from [n, turns, 4].
        entropies: of the policy among the directions offered, in nats [n, turns].
        rewards: of each turn [n, turns].
        gold: Gold entered in each turn [n, turns].
        mold: Mold, likewise.
    """

    rows: list[list[int]]
    positions: NDArray[np.int64]
    actions: NDArray[np.int64]
    offered: NDArray[np.bool_]
    seen: NDArray[np.int8]
    log_probs: NDArray[np.float32]
    probabilities: NDArray[np.float64]
    entropies: NDArray[np.float64]
    rewards: NDArray[np.float64]
    gold: NDArray[np.int8]
    mold: NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Dealt:
    """Rollouts that are to be played.

    Attributes:
        mazes: of each rollout.
        wind: where it comes from after each move [n, turns].
        orders: in which each rollout's prompts list directions.
        luck: what decides each choice, uniform in [0, 1) [n, turns].
    """

    mazes: list[Maze]
    wind: NDArray[np.int8]
    orders: list[tuple[int, ...]]
    luck: NDArray[np.float64]


def deal(config: MazeConfig, seeds: Sequence[Seed], rollouts: int, rng: np.random.Generator) -> Dealt:
    """A maze for each seed, and so many rollouts of each.

    Args:
        config: the rules.
        seeds: each draws a maze, its rollouts' winds and its order of directions, as everywhere.
        rollouts: of each maze.
        rng: draws the luck.
    """
    mazes = [draw_maze(config, generator(seed, "maze")) for seed in seeds]
    wind = np.concatenate([draw_wind(config, rollouts, generator(seed, "wind")) for seed in seeds])
    orders = [draw_order(seed) for seed in seeds]
    return Dealt(
        [maze for maze in mazes for _ in range(rollouts)],
        wind,
        [order for order in orders for _ in range(rollouts)],
        rng.random((len(seeds) * rollouts, config.turns)),
    )


def play(
    policy: Policy,
    config: MazeConfig,
    dealt: Dealt,
    temperature: float,
    batch_size: int,
    progress: Callable[[int], None] = lambda moves: None,
) -> Rollouts:
    """Play all rollouts to their end.

    Args:
        policy: chooses.
        config: the rules.
        dealt: what is played.
        temperature: of the choices.
        batch_size: rollouts at a time, each with its keys and values in memory.
        progress: told how many more moves have been made.
    """
    played = []
    for start in range(0, len(dealt.mazes), batch_size):
        part = slice(start, start + batch_size)
        some = Dealt(dealt.mazes[part], dealt.wind[part], dealt.orders[part], dealt.luck[part])
        played.append(_play(policy, config, some, temperature, progress))
    if len(played) == 1:
        return played[0]
    rows = [row for batch in played for row in batch.rows]
    arrays = [field.name for field in fields(Rollouts) if field.name != "rows"]
    return Rollouts(rows, **{name: np.concatenate([getattr(batch, name) for batch in played]) for name in arrays})


def retell(config: MazeConfig, dealt: Dealt, actions: NDArray[np.int64]) -> tuple[list[list[str]], NDArray[np.int64]]:
    """What rollouts were told before each move, and where they stood.

    Args:
        config: the rules.
        dealt: what was played.
        actions: directions chosen [n, turns].

    Returns:
        The texts of each rollout, and cells, y times the maze's size plus x [n, turns].
    """
    mazes = Mazes(config, dealt.mazes, dealt.wind[:, None])
    texts: list[list[str]] = [[] for _ in dealt.mazes]
    cells = np.zeros_like(actions)
    while not mazes.done:
        for told, text in zip(texts, turn_texts(mazes, dealt.orders), strict=True):
            told.append(text)
        cells[:, mazes.turn] = mazes.y * config.size + mazes.x
        mazes.step(actions[:, mazes.turn])
    return texts, cells


def choose(probabilities: NDArray[np.float64], luck: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each row the first option at which the probabilities, added up, exceed the luck [n].

    Args:
        probabilities: of the options [n, options]; what has none is never chosen.
        luck: uniform in [0, 1) [n].
    """
    reached = probabilities.cumsum(1)
    chosen: NDArray[np.int64] = (reached <= luck[:, None] * reached[:, -1:]).sum(1)
    return chosen


@torch.no_grad()
def _play(
    policy: Policy, config: MazeConfig, dealt: Dealt, temperature: float, progress: Callable[[int], None]
) -> Rollouts:
    n = len(dealt.mazes)
    mazes = Mazes(config, dealt.mazes, dealt.wind[:, None])  # each rollout as a group of its own
    cache = policy.engine.new_cache()
    rows: list[list[int]] = [[] for _ in range(n)]
    positions: list[list[int]] = []
    actions: list[NDArray[np.int64]] = []
    offered, seen, log_probs, probabilities, entropies = [], [], [], [], []
    while not mazes.done:
        texts = turn_texts(mazes, dealt.orders)
        if actions:
            letters = [policy.dialogue.letters[action] for action in actions[-1]]
            chunks = [[letter, *chunk] for letter, chunk in zip(letters, policy.dialogue.next(texts), strict=True)]
        else:
            chunks = policy.dialogue.first(texts)
        for row, chunk in zip(rows, chunks, strict=True):
            row += chunk
        options = mazes.offered
        log_p = log_policy(policy.next_logits(chunks, cache).cpu(), torch.from_numpy(options), temperature)
        probabilities.append(log_p.double().exp().numpy())
        chosen = choose(probabilities[-1], dealt.luck[:, mazes.turn])
        positions.append([len(row) - 1 for row in rows])
        offered.append(options)
        seen.append(mazes.seen)
        actions.append(chosen)
        log_probs.append(log_p.numpy()[np.arange(n), chosen])
        entropies.append(entropy(log_p.double()).numpy())
        mazes.step(chosen)
        progress(n)
    return Rollouts(
        rows,
        np.array(positions).T,
        np.stack(actions, 1),
        np.stack(offered, 1),
        np.stack(seen, 1),
        np.stack(log_probs, 1),
        np.stack(probabilities, 1),
        np.stack(entropies, 1),
        mazes.rewards,
        mazes.gold,
        mazes.mold,
    )
