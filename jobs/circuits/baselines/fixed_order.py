"""Try heads in an order that is known before the search begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.circuits.searchers import Proposal, Seen


@dataclass(frozen=True, eq=False)
class FixedOrder:
    """The heads from the highest value to the lowest; equal ones by their number.

    Raises:
        ValueError: a value isn't finite.
    """

    values: NDArray[np.float64]
    """Of every head, in each episode [n, H], or in all of them [1, H]."""
    overhead: int = 0
    """Forward passes that the values of an episode cost."""

    def __post_init__(self) -> None:
        if not np.isfinite(self.values).all():
            raise ValueError("heads can't be ordered by values that aren't finite")

    def propose(self, seen: Seen, chances: Sequence[np.random.Generator]) -> Proposal:
        left = np.where(seen.tried, -np.inf, self.values)
        return Proposal(left.argmax(axis=1)[:, None].astype(np.int64))
