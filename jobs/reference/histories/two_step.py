"""Two-Step histories of learning agents.

Two properties force the model to use reward rather than to copy past choices, which next-token prediction on a
converged agent's history teaches instead:

* exploratory choices are mixed in, at random or as a leading block, and are not training targets;
* the leaves' points (and sometimes the transitions) change in most histories, so the past best is not the best.

The study's own sets of points never occur here: the tasks it is tested on are held out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs import two_step
from jobs.reference.histories.batch import CHOICE, IGNORED, OUTCOME, TEMPLATE, Histories
from jobs.reference.vocabulary import BOS, EPISODES, POINTS, tokens

MAX_POINTS = 10


@dataclass(frozen=True)
class TwoStepHistories:
    """The distribution over task instances and agents (uniform or log-uniform within each range)."""

    episodes: int = 30
    """Episodes in one history."""
    interleaved: float = 0.8
    """Share of histories whose exploratory choices are spread at random; in the others they lead."""
    exploration: tuple[float, float] = (0.4, 0.95)
    """Probability of an exploratory choice where they are interleaved."""
    leading: tuple[int, int] = (0, 14)
    """Number of exploratory episodes where they lead."""
    hazards: tuple[float, ...] = (0.0, 0.0, 0.05, 0.15)
    """Probability that the task changes before an episode; one value drawn per history."""
    alpha: tuple[float, float] = (0.2, 1.0)
    """Learning rate of the agents."""
    gamma: tuple[float, float] = (0.5, 1.0)
    """Discount of the agents."""
    beta: tuple[float, float] = (6.0, 60.0)
    """Inverse temperature of the agents, per 10 points."""


class _Ids:
    """Token ids of what varies in an episode, which is seven tokens long."""

    def __init__(self) -> None:
        index = {token: i for i, token in enumerate(tokens())}
        self.start = np.array([index[BOS], index[two_step.INSTRUCTION]])
        self.pick = np.array(index[f" {two_step.DECISION_WORD}"])
        self.actions = np.array([index[action] for action in two_step.ACTIONS])
        self.episodes = np.array([index[f"Episode {n}: You"] for n in range(EPISODES)])
        self.fruits = np.array([index[f". You see an {fruit}. You"] for fruit in two_step.FRUITS])
        self.points = np.array([index[f". You get {n} points. Episode is over.\n\n"] for n in POINTS])


IDS = _Ids()
EPISODE_TOKENS = 7


def sample_points(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Points of the leaves [n, 2 fruits, 2 actions]: four different numbers, never a set that the study uses."""
    points = np.argsort(rng.random((n, MAX_POINTS + 1)), axis=1)[:, :4].reshape(n, 2, 2)
    held_out = _held_out(points)
    if held_out.any():
        points[held_out] = sample_points(int(held_out.sum()), rng)
    return points


def _held_out(points: NDArray[np.int64]) -> NDArray[np.bool_]:
    disrupted = tuple((two_step.DISRUPTED_POINTS[a], two_step.DISRUPTED_POINTS[b]) for a, b in two_step.STANDARD_POINTS)
    found = np.zeros(len(points), dtype=bool)
    leaves = np.sort(points, axis=2)
    for pair in (two_step.STANDARD_POINTS, two_step.TRANSITION_POINTS, disrupted):
        x, y = np.sort(pair[0]), np.sort(pair[1])
        for first, second in ((x, y), (y, x)):
            found |= (leaves[:, 0] == first).all(1) & (leaves[:, 1] == second).all(1)
    return found


def generate(n: int, rng: np.random.Generator, config: TwoStepHistories | None = None) -> Histories:
    """Let ``n`` Q-learning agents play, each on a task instance of its own, and write what happened."""
    config = config or TwoStepHistories()
    episodes = config.episodes
    everyone = np.arange(n)
    alpha, gamma = rng.uniform(*config.alpha, n), rng.uniform(*config.gamma, n)
    beta = np.exp(rng.uniform(np.log(config.beta[0]), np.log(config.beta[1]), n))
    hazard = rng.choice(config.hazards, n)
    forced = _exploration(n, rng, config)
    points = sample_points(n, rng)
    fruit_of_left = rng.integers(2, size=n)
    q = np.zeros((n, two_step.N_STATES, 2))

    ids = np.empty((n, 2 + episodes * EPISODE_TOKENS), dtype=np.int64)
    weights = np.full(ids.shape, TEMPLATE, dtype=np.float32)
    ids[:, :2], weights[:, :2] = IDS.start, IGNORED
    for episode in range(episodes):
        if episode:
            _change(points, fruit_of_left, rng.random(n) < hazard, rng)
        first = _choose(q[:, two_step.START], beta, forced[:, episode, 0], rng)
        fruit = np.where(first == 0, fruit_of_left, 1 - fruit_of_left)
        second = _choose(q[everyone, 1 + fruit], beta, forced[:, episode, 1], rng)
        reward = points[everyone, fruit, second]
        ahead = gamma * q[everyone, 1 + fruit].max(1)
        q[everyone, two_step.START, first] += alpha * (ahead - q[everyone, two_step.START, first])
        q[everyone, 1 + fruit, second] += alpha * (reward / MAX_POINTS - q[everyone, 1 + fruit, second])

        at = 2 + episode * EPISODE_TOKENS
        columns: list[tuple[NDArray[Any], NDArray[Any] | float]] = [
            (IDS.episodes[episode], TEMPLATE),
            (IDS.pick, TEMPLATE),
            (IDS.actions[first], np.where(forced[:, episode, 0], IGNORED, CHOICE)),
            (IDS.fruits[fruit], OUTCOME),
            (IDS.pick, TEMPLATE),
            (IDS.actions[second], np.where(forced[:, episode, 1], IGNORED, CHOICE)),
            (IDS.points[reward], OUTCOME),
        ]
        for offset, (token, weight) in enumerate(columns):
            ids[:, at + offset], weights[:, at + offset] = token, weight
    return Histories(ids, weights)


def _exploration(n: int, rng: np.random.Generator, config: TwoStepHistories) -> NDArray[np.bool_]:
    interleaved = rng.random((n, config.episodes, 2)) < rng.uniform(*config.exploration, n)[:, None, None]
    length = rng.integers(config.leading[0], config.leading[1] + 1, n)
    leading = np.arange(config.episodes)[None, :, None] < length[:, None, None]
    return np.where(rng.random(n)[:, None, None] < config.interleaved, interleaved, leading)


def _change(
    points: NDArray[np.int64],
    fruit_of_left: NDArray[np.int64],
    where: NDArray[np.bool_],
    rng: np.random.Generator,
) -> None:
    """In place: new points, the old points on other leaves, or the transitions swapped, one third each."""
    kind = rng.integers(3, size=len(points))
    fresh, moved = where & (kind == 0), where & (kind == 1)
    points[fresh] = sample_points(int(fresh.sum()), rng)
    shuffled = rng.permuted(points[moved].reshape(-1, 4), axis=1).reshape(-1, 2, 2)
    shuffled_held_out = _held_out(shuffled)
    shuffled[shuffled_held_out] = points[moved][shuffled_held_out]
    points[moved] = shuffled
    swapped = where & (kind == 2)
    fruit_of_left[swapped] = 1 - fruit_of_left[swapped]


def _choose(
    q: NDArray[np.float64], beta: NDArray[np.float64], forced: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.int64]:
    p_right = 1.0 / (1.0 + np.exp(beta * (q[:, 0] - q[:, 1])))
    return (rng.random(len(q)) < np.where(forced, 0.5, p_right)).astype(np.int64)
