"""Activation shards: one block a file, centred, with the mean beside the values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy.orm import Session
from torch import Tensor

from jobs.context import Context
from tdlens.blobs import StoredBlob
from tdlens.record import ActivationShard, Capture, CaptureRow, insert_columns, record_blob


def write_shards(context: Context, activations: Mapping[int, Tensor]) -> dict[int, StoredBlob]:
    """Write each block's activations [R, T, d] as one blob [R * T, d].

    The per-feature mean is subtracted first and kept in float32: bfloat16 has three significant digits, which
    a residual stream's large constant part would use up.
    """
    dtype = getattr(torch, context.study.capture.dtype)
    refs = {}
    for block, x in activations.items():
        rows = x.flatten(0, 1).double()
        mean = rows.mean(0)
        tensors = {"activations": (rows - mean).to(dtype), "mean": mean.float()}
        refs[block] = context.record.blobs.put_tensors(tensors)
    return refs


def record_capture(
    session: Session,
    context: Context,
    shards: Mapping[int, StoredBlob],
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
    for block, ref in shards.items():
        record_blob(session, ref)
        session.add(
            ActivationShard(
                capture_id=capture.id,
                block=block,
                blob=ref.sha256,
                first_row=0,
                n_rows=step_ids.size,
                d=context.engine.d_model,
                dtype=dtype,
            )
        )
