"""Graph-learning gates: does the model come to know the graph that it reads a walk on?

Names are drawn anew for every walk, so nothing about a word helps; what follows it must be learned in the context. A
model that knew the graph would be ln 4 nats away from the walk, which goes to each of four neighbours alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from envs.graph_walk import ADJACENCY, GraphWalk, GraphWalkConfig
from jobs.inference.base import Engine, TokenBatch
from jobs.inference.tokens import TextTokenizer
from jobs.reference.gates.measure import Measure, at_least, at_most
from jobs.reference.vocabulary import OBJECTS

FLOOR = float(np.log(ADJACENCY.sum(1).mean()))
MAX_EXCESS = 0.25
"""Gate: nats above ln 4 in the last half of the walk."""
MIN_MASS = 0.8
"""Gate: probability on the four neighbours together in the last half of the walk."""
WALKS_AT_ONCE = 8


def measure(engine: Engine, untrained: Engine, *, seed: int, n: int) -> list[Measure]:
    """Both gates, and an untrained model's values."""
    walks = [GraphWalk(GraphWalkConfig(words=OBJECTS), seed * 100_000 + 50_000 + index) for index in range(n)]
    (nll, mass), (fresh_nll, fresh_mass) = (predictions(model, walks) for model in (engine, untrained))
    early, late = slice(0, nll.shape[1] // 2), slice(nll.shape[1] // 2, None)
    return [
        at_most("graph: nats above ln 4, last half", float(nll[:, late].mean()) - FLOOR, MAX_EXCESS),
        at_least("graph: probability of the neighbours, last half", float(mass[:, late].mean()), MIN_MASS),
        Measure("graph: nats above ln 4, first half", float(nll[:, early].mean()) - FLOOR),
        Measure("graph: nats above ln 4, last half, untrained", float(fresh_nll[:, late].mean()) - FLOOR),
        Measure("graph: probability of the neighbours, last half, untrained", float(fresh_mass[:, late].mean())),
    ]


def predictions(engine: Engine, walks: Sequence[GraphWalk]) -> tuple[np.ndarray, np.ndarray]:
    """Surprise at the node that comes, in nats, and probability of all neighbours, over the whole vocabulary; [N, T].

    The walks are walked to their end.
    """
    for walk in walks:
        while not walk.done:
            walk.observe()
            walk.act(walk.forced_action or 0)
    tokenizer = TextTokenizer(engine.tokenizer)
    nll, mass = [], []
    for start in range(0, len(walks), WALKS_AT_ONCE):
        batch = walks[start : start + WALKS_AT_ONCE]
        rows, positions = tokenizer.decisions([walk.transcript() for walk in batch])
        tokens = TokenBatch.from_rows(rows, tokenizer.pad_id, side="right")
        logits = engine.forward(tokens, positions=torch.tensor(positions)).logits
        assert logits is not None
        for walk, row in zip(batch, logits.float().log_softmax(-1).cpu(), strict=True):
            text = walk.transcript().text
            ids = tokenizer.action_ids(text[: walk.transcript().decisions[0].end], walk.actions)
            log_p = row[:, ids].double().numpy()
            state, action = (np.array([step[i] for step in walk.steps]) for i in (1, 2))
            nll.append(-log_p[np.arange(len(state)), action])
            mass.append((np.exp(log_p) * ADJACENCY[state]).sum(1))
    return np.stack(nll), np.stack(mass)
