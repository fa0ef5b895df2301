"""Walks on graphs whose nodes have new names each time.

Half of them are walks on the study's own graph; the others, on graphs of other sizes, teach to count what followed a
node rather than to know one graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs import graph_walk
from jobs.reference.histories.batch import IGNORED, TEMPLATE, Histories
from jobs.reference.vocabulary import BOS, OBJECTS, tokens

NODE = 1.0
"""Loss weight of a node."""


@dataclass(frozen=True)
class GraphWalkHistories:
    """The distribution over graphs and lengths."""

    community: float = 0.5
    """Share of walks on the community graph."""
    nodes: tuple[int, int] = (5, 15)
    """Nodes of the other graphs: a ring with links across."""
    links: tuple[float, float] = (0.0, 2.0)
    """Links across for each node of such a ring."""


class _Ids:
    def __init__(self) -> None:
        index = {token: i for i, token in enumerate(tokens())}
        self.start = [index[BOS], index[graph_walk.INSTRUCTION]]
        self.comma = index[graph_walk.DECISION_WORD]
        self.first = np.array([index[word] for word in OBJECTS])
        self.later = np.array([index[f" {word}"] for word in OBJECTS])


IDS = _Ids()


def generate(n: int, steps: int, rng: np.random.Generator, config: GraphWalkHistories | None = None) -> Histories:
    """``n`` walks of ``steps`` predictions each, every one with names of its own: 3 + 2 · steps tokens."""
    config = config or GraphWalkHistories()
    ids = np.empty((n, 3 + 2 * steps), dtype=np.int64)
    weights = np.full(ids.shape, NODE, dtype=np.float32)
    ids[:, :2], ids[:, 3::2] = IDS.start, IDS.comma
    weights[:, :3], weights[:, 3::2] = IGNORED, TEMPLATE
    for row in ids:
        adjacency = graph_walk.ADJACENCY if rng.random() < config.community else ring(rng, config)
        names = rng.permutation(len(OBJECTS))[: len(adjacency)]
        walk = names[_walk(adjacency, steps, rng)]
        row[2], row[4::2] = IDS.first[walk[0]], IDS.later[walk[1:]]
    return Histories(ids, weights)


def ring(rng: np.random.Generator, config: GraphWalkHistories) -> NDArray[np.bool_]:
    """Which nodes of a random graph are linked: a ring, so that all can be reached, and links drawn across."""
    n = int(rng.integers(config.nodes[0], config.nodes[1] + 1))
    across = rng.integers(n, size=(int(n * rng.uniform(*config.links)), 2))
    linked = np.roll(np.eye(n, dtype=bool), 1, axis=1)
    linked[across[:, 0], across[:, 1]] = True
    linked |= linked.T
    np.fill_diagonal(linked, False)
    return linked


def _walk(adjacency: NDArray[np.bool_], steps: int, rng: np.random.Generator) -> NDArray[np.int64]:
    neighbours = [np.flatnonzero(row) for row in adjacency]
    walk = np.empty(steps + 1, dtype=np.int64)
    walk[0] = rng.integers(len(adjacency))
    chances = rng.random(steps)
    for t in range(steps):
        around = neighbours[walk[t]]
        walk[t + 1] = around[int(chances[t] * len(around))]
    return walk
