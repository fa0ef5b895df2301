"""Grid World gates: playing on its own, does the model find goals that it never met in training, ever faster?

Goals are held out of the training histories. The model plays in closed loop, each move drawn from its own
probabilities; beside it stand agents like those of the histories, on the same goals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from envs.grid_world import GridWorld, GridWorldConfig
from jobs.inference.base import Engine
from jobs.inference.play import play
from jobs.reference.gates.measure import Measure, at_least
from jobs.reference.histories import GridWorldHistories
from jobs.reference.histories.grid_world import GRID, HELD_OUT, walk

MIN_GAIN = 2.0
"""Gate: goals a move in the last quarter of the context, as a multiple of the first quarter's."""
MIN_SHARE = 0.6
"""Gate: goals a move in the last quarter, as a share of the replay Q-learners'."""
MOVES = 320
MIN_DISTANCE = 6
"""Moves from start to goal: from nearer, 320 moves could make more episodes than the model can count."""
QUARTERS = 4


def measure(engine: Engine, untrained: Engine, *, seed: int, n: int) -> list[Measure]:
    """Both gates, the model's four quarters, and what they are compared with."""
    model, fresh = self_play(engine, seed=seed, n=n), self_play(untrained, seed=seed, n=n)
    agents = q_learners(seed=seed, n=n)
    return [
        at_least("grid world: goals a move, last quarter over first", gain(model), MIN_GAIN),
        at_least("grid world: share of the replay Q-learners' goals, last quarter", share(model, agents), MIN_SHARE),
        *(Measure(f"grid world: goals a move, quarter {i + 1}", float(rate)) for i, rate in enumerate(model)),
        Measure("grid world: goals a move, last quarter, replay Q-learners", float(agents[-1])),
        Measure("grid world: goals a move, last quarter over first, untrained", gain(fresh)),
        Measure("grid world: goals a move, last quarter, untrained", float(fresh[-1])),
    ]


def gain(rates: NDArray[np.float64]) -> float:
    """Last quarter over first; 0 where no goal was ever found."""
    return float(rates[-1] / max(rates[0], 1 / MOVES)) if rates.any() else 0.0


def share(model: NDArray[np.float64], agents: NDArray[np.float64]) -> float:
    """The model's last quarter over the agents'."""
    return float(model[-1] / agents[-1])


def self_play(engine: Engine, *, seed: int, n: int) -> NDArray[np.float64]:
    """Goals a move in each quarter of the context, over ``n`` instances, [4]."""
    games = instances(seed, n)
    play(engine, games, seed=seed, batch_size=32)
    return quarters([[step.done for step in game.steps] for game in games])


def q_learners(*, seed: int, n: int) -> NDArray[np.float64]:
    """The same of agents like those of the training histories, on the same instances, [4]."""
    rng = np.random.default_rng((seed, 5))
    games = instances(seed, n)
    goal, start = (np.array([getattr(game.config, name) for game in games]) for name in ("goal", "start"))
    return quarters(walk(goal, MOVES, rng, GridWorldHistories(), start).found)


def quarters(found: Sequence[Sequence[bool]] | NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of the moves that found the goal in each quarter, from [N, T]."""
    table = np.asarray(found, dtype=np.float64)
    return np.array([part.mean() for part in np.array_split(table, QUARTERS, axis=1)])


def instances(seed: int, n: int) -> list[GridWorld]:
    """Games without an agent: held-out goals in turn, starts drawn from the cells that are far from them."""
    rng = np.random.default_rng((seed, 4))
    cells = [divmod(state, GRID.size) for state in range(GRID.n_states)]
    games = []
    for index in range(n):
        goal_y, goal_x = cells[HELD_OUT[index % len(HELD_OUT)]]
        far = [(y, x) for y, x in cells if abs(y - goal_y) + abs(x - goal_x) >= MIN_DISTANCE]
        start_y, start_x = far[int(rng.integers(len(far)))]
        config = GridWorldConfig(
            steps=MOVES, start_x=start_x, start_y=start_y, goal_x=goal_x, goal_y=goal_y, closed_loop=True
        )
        games.append(GridWorld(config, index))
    return games
