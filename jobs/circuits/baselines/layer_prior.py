"""Blocks as often as their heads mattered in training, and in a block any untried head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.circuits.baselines.known import Known
from jobs.circuits.searchers import Proposal, Seen

NAME = "layer_prior"


@dataclass(frozen=True, eq=False)
class LayerPrior:
    """Draws a block in proportion to its weight among those with untried heads, then one of these heads.

    Once only blocks without weight are left, they are equally likely.
    """

    weights: NDArray[np.float64]
    """Of each block, none negative [L]."""
    overhead: int = 0

    def propose(self, seen: Seen, chances: Sequence[np.random.Generator]) -> Proposal:
        heads, probabilities = [], []
        for tried, chance in zip(seen.tried.reshape(len(chances), len(self.weights), -1), chances, strict=True):
            untried_left: NDArray[np.float64] = np.any(~tried, axis=1).astype(np.float64)
            weights = self.weights * untried_left
            if weights.sum() == 0:
                weights = untried_left
            block = int(chance.choice(len(weights), p=weights / weights.sum()))
            untried = np.flatnonzero(~tried[block])
            heads.append(block * tried.shape[1] + int(chance.choice(untried)))
            probabilities.append(weights[block] / weights.sum() / len(untried))
        return Proposal(np.array(heads, dtype=np.int64)[:, None], np.array(probabilities)[:, None])


def make(known: Known) -> LayerPrior:
    """Weights are the mean positive score of a block's heads in the training episodes; negative ones count as none."""
    means = [np.maximum(scores, 0).mean(axis=0) for scores in known.training_scores]
    return LayerPrior(np.mean(means, axis=0).reshape(known.n_blocks, known.n_heads).mean(axis=1))
