"""Any untried head, each as likely as the others: the control of Khadka (2026, arXiv 2605.26343)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs.circuits.baselines.known import Known
from jobs.circuits.searchers import Proposal, Seen

NAME = "random"


@dataclass(frozen=True)
class AtRandom:
    """Needs to know nothing."""

    overhead: int = 0

    def propose(self, seen: Seen, chances: Sequence[np.random.Generator]) -> Proposal:
        heads = [chance.choice(np.flatnonzero(~tried)) for tried, chance in zip(seen.tried, chances, strict=True)]
        return Proposal(np.array(heads, dtype=np.int64)[:, None], 1 / (~seen.tried).sum(axis=1, keepdims=True))


def make(known: Known) -> AtRandom:
    return AtRandom()
