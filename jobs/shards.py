"""Activation shards: one block of one batch a file, centred, with the mean beside the values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy.orm import Session
from torch import Tensor

from jobs.context import Context
from jobs.writing import Writers
from tdlens.blobs import BlobStore, StoredBlob
from tdlens.record import ActivationShard, Capture, CaptureRow, insert_columns, record_blob

CHUNK = 1 << 17
"""Values that are centred at once: they fit into a processor's cache."""


@dataclass(frozen=True)
class Shard:
    """Rows first_row … first_row + n_rows - 1 of one block, as they lie in the store."""

    block: int
    first_row: int
    n_rows: int
    blob: StoredBlob


class ShardWriters(Writers[Shard]):
    """Writes the captured blocks of each batch of rollouts, while the next batch is played or read.

    Args:
        blobs: where to.
        dtype: of the shards, ``float32`` or ``bfloat16``.
        threads: as of :class:`~jobs.writing.Writers`.
    """

    def __init__(self, blobs: BlobStore, dtype: str, threads: int | None = None) -> None:
        super().__init__(threads)
        self._blobs = blobs
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._rows = 0

    @classmethod
    def of(cls, context: Context) -> Self:
        """Those of a study's captures."""
        return cls(context.record.blobs, context.study.capture.dtype)

    def take(self, activations: Mapping[int, Tensor]) -> None:
        """Have the blocks of the rollouts that follow those taken before written, each [b, T, d].

        Raises:
            Exception: as ``put``.
        """
        first = self._rows
        blocks = {block: x.flatten(0, 1) for block, x in activations.items()}
        self.put(partial(self._written, block, x, first) for block, x in blocks.items())
        self._rows += max(map(len, blocks.values()), default=0)

    def _written(self, block: int, rows: Tensor, first_row: int) -> Shard:
        return Shard(block, first_row, len(rows), write_shard(self._blobs, rows, self._dtype))


def write_shard(blobs: BlobStore, rows: Tensor, dtype: torch.dtype) -> StoredBlob:
    """Write activations [N, d] of any floating-point type as one blob of ``dtype``.

    The per-feature mean is subtracted first and kept in float32: bfloat16 has three significant digits, which
    a residual stream's large constant part would use up.
    """
    size = max(1, CHUNK // rows.shape[1])
    parts = [slice(start, start + size) for start in range(0, len(rows), size)]
    # numpy, for it adds up in the same order whatever the number of torch's threads
    total = sum(rows[part].float().numpy().sum(axis=0, dtype=np.float64) for part in parts)
    mean = torch.from_numpy((total / len(rows)).astype(np.float32))
    centred = torch.empty(rows.shape, dtype=dtype)
    for part in parts:
        torch.sub(rows[part], mean, out=centred[part])
    return blobs.put_tensors({"activations": centred, "mean": mean})


def record_capture(
    session: Session,
    context: Context,
    shards: Sequence[Shard],
    step_ids: NDArray[np.int64],
    **common: int,
) -> None:
    """Insert a capture, the step of each of its rows, and its shards; ``common``: job_id and model_id."""
    dtype = context.study.capture.dtype
    capture = Capture(positions="decision", dtype=dtype, n_rows=step_ids.size, hook="block_output", **common)
    session.add(capture)
    session.flush()
    steps = {"capture_id": capture.id, "row": np.arange(step_ids.size), "step_id": step_ids.ravel()}
    insert_columns(session, CaptureRow, steps)
    for shard in shards:
        record_blob(session, shard.blob)
        session.add(
            ActivationShard(
                capture_id=capture.id,
                block=shard.block,
                blob=shard.blob.sha256,
                first_row=shard.first_row,
                n_rows=shard.n_rows,
                d=context.network.d_model,
                dtype=dtype,
            )
        )
