"""Walks on graphs whose nodes have new names each time.

Some of them are walks on the study's own graph. Alone they teach nothing for long: to have seen what followed a node
narrows the next one down to four. So the others are walks on directed graphs in which one to four nodes follow each;
where only one does, the walk repeats itself, and to look up what came last time pays at once.
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

    community: float = 0.4
    """Share of walks on the community graph."""
    nodes: tuple[int, int] = (4, 15)
    """Nodes of the other graphs."""
    followers: tuple[int, int] = (1, 4)
    """Most nodes that can follow one there."""


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
        adjacency = graph_walk.ADJACENCY if rng.random() < config.community else other_graph(rng, config)
        names = rng.permutation(len(OBJECTS))[: len(adjacency)]
        walk = names[_walk(adjacency, steps, rng)]
        row[2], row[4::2] = IDS.first[walk[0]], IDS.later[walk[1:]]
    return Histories(ids, weights)


def other_graph(rng: np.random.Generator, config: GraphWalkHistories) -> NDArray[np.bool_]:
    """Which node may follow which: some tours through all nodes, laid over each other."""
    n = int(rng.integers(config.nodes[0], config.nodes[1] + 1))
    linked = np.zeros((n, n), dtype=bool)
    for _ in range(int(rng.integers(config.followers[0], config.followers[1] + 1))):
        tour = rng.permutation(n)
        linked[tour, np.roll(tour, -1)] = True
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
