"""A bandit that learns within the episode in which blocks the heads are that matter; it knows nothing before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.circuits.baselines.known import Known
from jobs.circuits.searchers import Proposal, Seen

NAME = "ucb"


@dataclass(frozen=True)
class BlockBandit:
    """UCB1 (Auer et al. 2002): blocks are arms, and to pull one is to try an untried head of it, any with equal chance.

    UCB1 supposes rewards from 0 to 1, so scores are put on that scale by the lowest and highest of the episode so far.
    Arms are pulled once first, in random order; equal bounds are broken at random, too.
    """

    n_blocks: int
    overhead: int = 0

    def propose(self, seen: Seen, chances: Sequence[np.random.Generator]) -> Proposal:
        heads = []
        for tried, scores, chance in zip(seen.tried, seen.scores, chances, strict=True):
            bounds = self.upper_bounds(tried, scores)
            block = int(chance.choice(np.flatnonzero(bounds == bounds.max())))
            in_block = np.flatnonzero(~tried.reshape(self.n_blocks, -1)[block])
            heads.append(block * (len(tried) // self.n_blocks) + int(chance.choice(in_block)))
        return Proposal(np.array(heads, dtype=np.int64)[:, None])

    def upper_bounds(self, tried: NDArray[np.bool_], scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each block's mean [L]: infinite before its first head is tried, minus infinity after its last.

        Args:
            tried: which heads were tried [H].
            scores: their scores [H].
        """
        tried_by_block = tried.reshape(self.n_blocks, -1)
        pulls, total = tried_by_block.sum(axis=1), tried.sum()
        lowest, highest = (scores[tried].min(), scores[tried].max()) if total else (0.0, 0.0)
        scale = highest - lowest if highest > lowest else 1.0
        rewards = np.where(tried, (scores - lowest) / scale, 0.0).reshape(self.n_blocks, -1).sum(axis=1)
        once = np.maximum(pulls, 1)
        bounds = rewards / once + np.sqrt(2 * np.log(max(total, 1)) / once)
        return np.where(tried_by_block.all(axis=1), -np.inf, np.where(pulls == 0, np.inf, bounds))


def make(known: Known) -> BlockBandit:
    return BlockBandit(known.n_blocks)
