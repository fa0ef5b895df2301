"""The graph-learning task of Demircan et al. (2025, arXiv 2410.01280, §3.3): a random walk, told as a list of words.

Fifteen nodes in three communities, each node with four neighbours (Schapiro et al. 2013): within a community all are
linked but its two bottleneck nodes, each of which has one link to the next community. A node is an everyday word,
drawn anew for every walk. The language model reads the walk and predicts, at every comma, the node that comes next.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from envs.game import Step
from envs.transcript import Span, Transcript

INSTRUCTION = "What is the next object in the following sequence?\n\n"
DECISION_WORD = ","
N_COMMUNITIES = 3
COMMUNITY_SIZE = 5
N_NODES = N_COMMUNITIES * COMMUNITY_SIZE
WORDS: tuple[str, ...] = tuple((files("envs") / "words.txt").read_text(encoding="utf-8").split())
"""Everyday things, most of them single tokens of most tokenizers."""


class Variant(StrEnum):
    """The graphs that are walked on."""

    COMMUNITY = "community"


def community(node: int) -> int:
    """The community of a node."""
    return node // COMMUNITY_SIZE


def _adjacency() -> NDArray[np.bool_]:
    communities = np.arange(N_NODES) // COMMUNITY_SIZE
    linked: NDArray[np.bool_] = np.equal.outer(communities, communities) & ~np.eye(N_NODES, dtype=bool)
    for first in range(0, N_NODES, COMMUNITY_SIZE):
        last, next_first = first + COMMUNITY_SIZE - 1, (first + COMMUNITY_SIZE) % N_NODES
        linked[first, last] = linked[last, first] = False
        linked[last, next_first] = linked[next_first, last] = True
    linked.setflags(write=False)
    return linked


ADJACENCY = _adjacency()
"""Which nodes are linked, [15, 15]; every node has four neighbours."""
BOTTLENECKS: tuple[int, ...] = tuple(
    node
    for node in range(N_NODES)
    if any(community(int(other)) != community(node) for other in np.flatnonzero(ADJACENCY[node]))
)
"""The nodes with a link to another community."""


@dataclass(frozen=True)
class GraphWalkConfig:
    """The walk and its words.

    Raises:
        ValueError: too few words for the nodes, or no step.
    """

    variant: Variant = Variant.COMMUNITY
    """Which graph."""
    steps: int = 400
    """Predictions in one rollout: one less than the nodes visited."""
    words: tuple[str, ...] = WORDS
    """Names to draw from; each should be a single token of the model that reads."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "variant", Variant(self.variant))  # plain text from a study file, too
        object.__setattr__(self, "words", tuple(self.words))
        if len(set(self.words)) < N_NODES:
            raise ValueError(f"{N_NODES} nodes need as many different words, not {len(set(self.words))}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")


class GraphWalk:
    """One walk; see :class:`envs.game.Game` for the protocol. State is the node, action the node that follows it.

    Args:
        config: length and words.
        seed: draws the names of the nodes and the walk.
    """

    def __init__(self, config: GraphWalkConfig, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.config = config
        self.words: tuple[str, ...] = tuple(rng.permutation(sorted(set(config.words)))[:N_NODES].tolist())
        """The name of each node."""
        self.actions = tuple(f" {word}" for word in self.words)
        self.steps: list[Step] = []
        self.n_decisions = config.steps
        self._walk = random_walk(config.steps, rng)
        self._text = f"{INSTRUCTION}{self.words[self._walk[0]]}"
        self._read = 0
        self._decisions: list[Span] = []
        self._write_decision()

    @property
    def done(self) -> bool:
        return len(self.steps) == self.n_decisions

    @property
    def forced_action(self) -> int | None:
        return self._walk[len(self.steps) + 1]

    def observe(self) -> str:
        fresh, self._read = self._text[self._read :], len(self._text)
        return fresh

    def act(self, action: int) -> None:
        """Go on with the walk; it goes where it was drawn to go.

        Raises:
            ValueError: after the end, or another node than the walk's next.
        """
        if self.done:
            raise ValueError(f"the walk is over: all {self.n_decisions} steps have been taken")
        here, there = self._walk[len(self.steps) : len(self.steps) + 2]
        if action != there:
            raise ValueError(f"the walk goes to node {there} here, not to {action}")
        self.steps.append(Step(0, here, there, 0.0, there, False, True))
        self._text += self.actions[there]
        if not self.done:
            self._write_decision()

    def transcript(self) -> Transcript:
        return Transcript(self._text, tuple(self._decisions))

    def _write_decision(self) -> None:
        self._text += DECISION_WORD
        self._decisions.append(Span(len(self._text) - len(DECISION_WORD), len(self._text)))


def random_walk(steps: int, rng: np.random.Generator) -> list[int]:
    """The steps + 1 nodes of a uniformly random walk from a random node."""
    walk = [int(rng.integers(N_NODES))]
    for _ in range(steps):
        walk.append(int(rng.choice(np.flatnonzero(ADJACENCY[walk[-1]]))))
    return walk
