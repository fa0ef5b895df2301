"""Bytes that a study leaves on the disk: its blobs. The rows beside them are small, and not counted."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.planning.scope import Scope
from jobs.planning.speed import dtype_size
from jobs.planning.work import sae_parameters

MATRIX_NUMBERS = 17
"""Columns of the matrix of correlations that hold measured numbers, which hardly shrink."""
GROUP = 4500
"""Bytes by which a matrix describes the columns of one signal's part."""
NULL_BINS = 4096
"""Bins of each of the two histograms that a block's null keeps."""


@dataclass(frozen=True)
class Disk:
    """Bytes by what they hold."""

    shards: int
    """Residual stream at the decisions of what was played, centred, and its means."""
    control_shards: int
    """The same of the untrained model."""
    autoencoders: int
    """Their checkpoints."""
    correlations: int
    """Matrices of all correlations as parquet at most, and the nulls."""

    @property
    def total(self) -> int:
        return self.shards + self.control_shards + self.autoencoders + self.correlations

    @classmethod
    def of(cls, scope: Scope) -> Disk:
        """What a study leaves."""
        d, blocks = scope.shape.d_model, len(scope.blocks)
        rows = scope.rollouts * scope.texts.n_decisions
        shards = len(scope.study.task.variants) * blocks * (rows * d * dtype_size(scope.study.capture.dtype) + 4 * d)
        signals = len(scope.study.correlate.signals)
        null = 8 * (scope.study.correlate.permutations + 1 + 2 * NULL_BINS + 1)
        return cls(
            shards=shards,
            control_shards=shards if scope.untrained else 0,
            autoencoders=blocks * sum(4 * (sae_parameters(config) + d + 1) for config in scope.autoencoders),
            correlations=blocks
            * sum(signals * (8 * MATRIX_NUMBERS * n + GROUP) + null for n in scope.features.values()),
        )
