"""Grid World histories of Q-learning agents that replay what they have met after every move.

Replay is what makes them worth imitating: learning from single moves, an agent reaches too few goals in one context to
show what it learns. Start and goal are drawn for every history; some goals, the study's among them, never occur.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.grid_world import ACTIONS, DECISION_WORD, INSTRUCTION, GridWorldConfig, Variant
from jobs.reference.histories.batch import CHOICE, IGNORED, TEMPLATE, Histories
from jobs.reference.vocabulary import ARE_AT, BOS, CELLS, EPISODES, FINISHED, FINISHED_UNTOLD, OUTCOMES, OVER, tokens

GRID = GridWorldConfig()
HELD_OUT = tuple(y * GRID.size + x for x, y in ((GRID.goal_x, GRID.goal_y), (1, 1), (4, 3), (0, 2)))
"""Cells that are never a goal in training."""
GOAL, CELL = 0.5, 0.1
"""Loss weights of a move's outcome and of the cell it leads to."""


@dataclass(frozen=True)
class GridWorldHistories:
    """The distribution over task instances and agents (uniform or log-uniform within each range)."""

    alpha: tuple[float, float] = (0.1, 1.0)
    """Learning rate of the agents."""
    gamma: tuple[float, float] = (0.8, 1.0)
    """Discount of the agents."""
    beta: tuple[float, float] = (3.0, 60.0)
    """Inverse temperature of the agents that choose by softmax: half of them."""
    epsilon: tuple[float, float] = (0.2, 1.0)
    """First exploration rate of the others; their random moves are no targets."""
    epsilon_episodes: tuple[int, int] = (3, 20)
    """Episodes over which it falls to 0."""
    cap: tuple[int, int] = (12, 28)
    """Moves after which an episode ends."""
    restarts: float = 0.3
    """Share of histories in which every episode starts elsewhere."""
    untrue: float = 0.1
    """Share of histories told with rewards at random, removed or swapped; their agents know the true ones."""


class _Ids:
    def __init__(self) -> None:
        index = {token: i for i, token in enumerate(tokens())}
        self.start = [index[BOS], index[INSTRUCTION]]
        self.episodes = [[index[f"Episode {n}: You"], index[ARE_AT]] for n in range(EPISODES)]
        self.cells = [index[cell] for cell in CELLS]
        self.go = index[f" {DECISION_WORD}"]
        self.actions = [index[action] for action in ACTIONS]
        told = (-1, 1, 0)  # 0: nothing is told
        self.on = {reward: index[f"{outcome}{ARE_AT}"] for reward, outcome in zip(told, OUTCOMES, strict=True)}
        self.over = {reward: [index[f"{OUTCOMES[i]}{FINISHED}"]] for i, reward in enumerate(told[:2])}
        self.over[0] = [index[FINISHED_UNTOLD]]
        self.totals = {n: [index[f" {n}"], index[OVER]] for n in range(-40, 41)}


IDS = _Ids()
TRANSITIONS: NDArray[np.int64] = np.array(
    [[GRID.move(state, action) for action in range(len(ACTIONS))] for state in range(GRID.n_states)]
)
"""The state that each action leads to, [25, 4]."""


@dataclass(frozen=True)
class Moves:
    """What ``n`` agents did in T moves; every array is [N, T]."""

    state: NDArray[np.int64]
    action: NDArray[np.int64]
    found: NDArray[np.bool_]
    """The move entered the goal."""
    over: NDArray[np.bool_]
    """It ended the episode, with or without the goal."""
    random: NDArray[np.bool_]
    """It was exploration."""


def generate(n: int, steps: int, rng: np.random.Generator, config: GridWorldHistories | None = None) -> Histories:
    """``n`` agents make ``steps`` moves each, every one on an instance of its own."""
    config = config or GridWorldHistories()
    goals = np.setdiff1d(np.arange(GRID.n_states), HELD_OUT)
    moves = walk(rng.choice(goals, n), steps, rng, config)
    untrue = rng.random(n) < config.untrue
    told = np.where(untrue, rng.integers(1, 4, n), 0)
    return Histories.from_rows([_written(moves, i, tuple(Variant)[told[i]], rng) for i in range(n)])


def walk(
    goal: NDArray[np.int64],
    steps: int,
    rng: np.random.Generator,
    config: GridWorldHistories,
    start: NDArray[np.int64] | None = None,
) -> Moves:
    """Let one agent for each of the goals [N] move, learning from its whole history after every move.

    Every episode begins at ``start`` [N]; if there is none, where the configuration's chances have it.
    """
    n, everyone = len(goal), np.arange(len(goal))
    alpha, gamma = rng.uniform(*config.alpha, n)[:, None], rng.uniform(*config.gamma, n)[:, None]
    beta = np.exp(rng.uniform(np.log(config.beta[0]), np.log(config.beta[1]), n))
    softmax = rng.random(n) < 0.5
    epsilon, falls = rng.uniform(*config.epsilon, n), rng.integers(*config.epsilon_episodes, n)
    cap = rng.integers(config.cap[0], config.cap[1] + 1, n)
    restarts = rng.random(n) < config.restarts
    if start is None:
        start = _elsewhere(goal, rng)
    else:
        restarts[:] = False
    q = np.zeros((n, GRID.n_states, len(ACTIONS)))
    met = np.zeros(q.shape, dtype=bool)
    ends = goal[:, None, None] == TRANSITIONS
    reward = np.where(ends, 1.0, -1.0)
    state, episode, moved = start.copy(), np.zeros(n, dtype=int), np.zeros(n, dtype=int)
    columns: list[tuple[NDArray[Any], ...]] = []
    for _ in range(steps):
        values = q[everyone, state]
        noise = rng.gumbel(size=values.shape)
        by_softmax = (beta[:, None] * values + noise).argmax(1)
        greedy = np.where(values == values.max(1, keepdims=True), noise, -np.inf).argmax(1)
        explores = ~softmax & (rng.random(n) < epsilon * np.maximum(0, 1 - episode / falls))
        action = np.where(softmax, by_softmax, np.where(explores, noise.argmax(1), greedy))
        found = ends[everyone, state, action]
        met[everyone, state, action] = True
        ahead = q.max(2)[:, TRANSITIONS]
        error = reward + gamma[:, None] * np.where(ends, 0.0, ahead) - q
        q += np.where(met, alpha[:, None] * error, 0.0)
        moved += 1
        over = found | (moved == cap)
        columns.append((state.copy(), action, found, over, explores))
        start = np.where(over & restarts, _elsewhere(goal, rng), start)
        state = np.where(over, start, TRANSITIONS[state, action])
        episode, moved = episode + over, np.where(over, 0, moved)
    return Moves(*(np.stack(column, axis=1) for column in zip(*columns, strict=True)))


def _elsewhere(goal: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A random state for each agent that isn't its goal."""
    return (goal + rng.integers(1, GRID.n_states, len(goal))) % GRID.n_states


def _written(moves: Moves, i: int, variant: Variant, rng: np.random.Generator) -> tuple[list[int], list[float]]:
    """Token ids and loss weights of one history."""
    ids, weights = list(IDS.start), [IGNORED, IGNORED]

    def write(tokens: list[int], weight: float) -> None:
        ids.extend(tokens)
        weights.extend([weight] * len(tokens))

    episode = points = 0
    write(IDS.episodes[0], IGNORED)
    columns = (moves.state[i], moves.action[i], moves.found[i], moves.over[i], moves.random[i])
    for state, action, found, over, explored in zip(*(column.tolist() for column in columns), strict=True):
        write([IDS.cells[state]], CELL)
        write([IDS.go], TEMPLATE)
        write([IDS.actions[action]], IGNORED if explored else CHOICE)
        told = _told(variant, found, rng)
        points += told
        if not over:
            write([IDS.on[told]], GOAL)
            continue
        write(IDS.over[told], GOAL)
        if told:
            write(IDS.totals[points], TEMPLATE)
        episode, points = episode + 1, 0
        if episode == EPISODES:
            break
        write(IDS.episodes[episode], TEMPLATE)
    return ids, weights


def _told(variant: Variant, found: bool, rng: np.random.Generator) -> int:
    match variant:
        case Variant.TRUE:
            return 1 if found else -1
        case Variant.SWAPPED:
            return -1 if found else 1
        case Variant.RANDOM:
            return 1 if rng.random() < 0.5 else -1
        case Variant.REMOVED:
            return 0
