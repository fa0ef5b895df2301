"""What all histories come as: token ids, and how much each token counts as a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

IGNORED, TEMPLATE, OUTCOME, CHOICE = 0.0, 0.1, 1.0, 3.0
"""Loss weights: exploratory choices and padding; fixed words; outcomes; the agent's own choices."""


@dataclass(frozen=True)
class Histories:
    """N histories, padded on the right with token 0."""

    ids: NDArray[np.int64]
    """Token ids [N, L], BOS first."""
    weights: NDArray[np.float32]
    """Weight of each token as a target of the loss [N, L]."""

    @classmethod
    def from_rows(cls, rows: Sequence[tuple[Sequence[int], Sequence[float]]]) -> Self:
        """From the ids and weights of each history, of any lengths."""
        length = max(len(ids) for ids, _ in rows)
        padded = cls(np.zeros((len(rows), length), np.int64), np.zeros((len(rows), length), np.float32))
        for index, (ids, weights) in enumerate(rows):
            padded.ids[index, : len(ids)] = ids
            padded.weights[index, : len(weights)] = weights
        return padded
