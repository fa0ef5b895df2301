"""From an order for a model to the engine that runs it on ranks."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from jobs.inference.base import ModelDescription
from jobs.inference.fingerprint import hash_files, hash_weights
from jobs.inference.layout import Layout, Node, choose
from jobs.inference.models import Order, refuse_foreign_tokenizer
from jobs.inference.ranks.engine import RankedEngine
from jobs.inference.ranks.group import GroupSettings
from jobs.inference.ranks.nvme import refuse_locked_build
from jobs.inference.scratch import Scratch
from jobs.inference.shapes import ModelShape
from jobs.inference.weights import cast_parameters, untrained_model
from tdlens.errors import DiskFull, UserError


def ranked_engine(order: Order) -> RankedEngine:
    """The engine, described from the configuration alone; no rank is started before the first forward pass.

    Raises:
        UserError: weights that can't be spread as asked, a GPU named by its number, no room for made weights.
    """
    if order.device.index is not None:
        raise UserError(
            f"Device {order.device} names one GPU, and the engine deepspeed takes all that it sees.",
            "Set CUDA_VISIBLE_DEVICES to the GPUs it may take, and leave model.device out.",
        )
    parallel = order.parallel
    shape = ModelShape.of(order.config)
    refuse_foreign_tokenizer(order, shape.embedding // shape.d_model)
    node = Node.here()
    layout = choose(
        shape,
        order.dtype.itemsize,
        node if order.device.type == "cuda" else Node(0, 0, node.host_memory, ""),
        order.job,
        ranks=parallel.ranks,
        kind=parallel.layout,
        offload=parallel.offload,
        nvme=None if parallel.nvme is None else Path(parallel.nvme),
    )
    if layout.offload == "nvme":
        refuse_locked_build()
    folder, fingerprint, scratch = _weights(order, shape)
    what = "untrained control" if scratch else order.files.source
    order.note(f"{what}: {layout.reason} (change it: --set model.parallel.layout=…).")
    engine = RankedEngine(
        folder,
        order.config,
        order.tokenizer,
        ModelDescription(
            architecture=shape.architecture,
            n_blocks=shape.n_blocks,
            d_model=shape.d_model,
            n_parameters=shape.parameters,
            dtype=str(order.dtype).removeprefix("torch."),
            fingerprint=fingerprint,
        ),
        layout,
        GroupSettings(
            layout.ranks, "cuda" if order.device.type == "cuda" else "cpu", parallel.launcher, 60 * parallel.timeout
        ),
        offload=_offload(layout, order, shape),
        block=max(shape.block_parameters),
    )
    if scratch is not None:
        weakref.finalize(engine, scratch.remove)
    return engine


def _weights(order: Order, shape: ModelShape) -> tuple[Path, str, Scratch | None]:
    """Folder and fingerprint of the weights, and the scratch folder if they are drawn."""
    if order.untrained_seed is None:
        return order.files.folder, hash_files(order.files.folder, order.progress), None
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < (needed := shape.parameters * order.dtype.itemsize):
        raise DiskFull(
            f"The untrained control's weights take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in "
            f"{tempfile.gettempdir()}.",
            "Point TMPDIR to a larger disk, or leave untrained out of correlate.controls.",
        )
    scratch = Scratch("untrained")
    try:
        # drawn here and read by the ranks: the same weights as with any other engine
        model = untrained_model(order.config, order.untrained_seed)
        fingerprint = hash_weights(model.config.to_json_string(), model)
        cast_parameters(model, order.dtype).save_pretrained(scratch.folder)
    except BaseException:
        scratch.remove()
        raise
    return scratch.folder, fingerprint, scratch


def _offload(layout: Layout, order: Order, shape: ModelShape) -> dict[str, Any]:
    """``offload_param`` of DeepSpeed's configuration."""
    if layout.offload == "none":
        return {}
    place: dict[str, Any] = {"device": layout.offload, "pin_memory": order.device.type == "cuda"}
    if layout.offload == "nvme":
        # a rank's part of the largest parameter must fit into a buffer, and it isn't made larger by itself
        largest = max(shape.embedding, shape.head, *shape.block_parameters)
        place |= {"nvme_path": order.parallel.nvme, "buffer_size": -(-largest // layout.ranks)}
    return place
