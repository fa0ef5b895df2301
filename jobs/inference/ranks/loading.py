"""Sharing a model out among ranks: ZeRO-3, DeepSpeed's tensor parallelism, or that of Hugging Face."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from jobs.inference.blocks import output_projection
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.inference.layout import LIVE_BLOCKS
from jobs.inference.ranks.join import Rank
from jobs.inference.ranks.nvme import refuse_unbuildable
from jobs.inference.weights import rotary_frequencies, trained_model

PERSISTENT = 100_000
"""ZeRO-3: parameters up to this size stay whole on every rank."""


def load(
    layout: str, folder: Path, dtype: torch.dtype, rank: Rank, *, offload: dict[str, Any], block: int
) -> HuggingFaceEngine:
    """The part of the model that this rank runs, behind the interface of the whole.

    Args:
        layout: ``single``, ``zero3``, ``tensor`` or ``hf_tensor``.
        folder: configuration and weights.
        dtype: of the weights. DeepSpeed's own default, float16, is never left to happen.
        rank: which of the ranks.
        offload: ZeRO-3: ``offload_param`` of DeepSpeed's configuration; empty for none.
        block: ZeRO-3: parameters of a decoder block, the measure of what is gathered at a time.

    Raises:
        UserError: the weights are damaged, or the architecture is unsuitable.
        RuntimeError: the library loaded something else than the weights.
    """
    loaders: dict[str, Callable[[], Any]] = {
        "single": lambda: trained_model(folder, dtype).to(rank.device),
        "zero3": lambda: _zero3(folder, dtype, offload, block),
        "tensor": lambda: _tensor(folder, dtype, rank),
        "hf_tensor": lambda: _hf_tensor(folder, dtype, rank),
    }
    model = loaders[layout]()
    _refuse_other_dtypes(model, dtype)
    _refuse_wrong_rotations(model)
    engine = HuggingFaceEngine(model, None, "", device=rank.device)
    if layout in ("tensor", "hf_tensor"):
        engine.first_head = _first_head(engine, rank)
    return engine


def _zero3(folder: Path, dtype: torch.dtype, offload: dict[str, Any], block: int) -> Any:
    import deepspeed
    from transformers.integrations import HfDeepSpeedConfig

    zero: dict[str, Any] = {
        "stage": 3,
        "stage3_param_persistence_threshold": min(PERSISTENT, block // 100),
        "stage3_prefetch_bucket_size": block,
        "stage3_max_live_parameters": LIVE_BLOCKS * block,
    }
    if offload:
        if offload["device"] == "nvme":
            refuse_unbuildable()
        zero["offload_param"] = offload
    settings = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": zero,
        "bf16": {"enabled": dtype == torch.bfloat16},
        "fp16": {"enabled": dtype == torch.float16},
    }
    keep = HfDeepSpeedConfig(settings)  # read by from_pretrained for as long as it exists
    model = trained_model(folder, dtype)
    engine = deepspeed.initialize(model=model, config=settings)[0]
    del keep
    return engine.module


def _tensor(folder: Path, dtype: torch.dtype, rank: Rank) -> Any:
    import deepspeed

    model = trained_model(folder, dtype).eval()
    # its limit of 1,024 tokens holds for its own generate alone, which is never called
    engine = deepspeed.init_inference(
        model,
        tensor_parallel={"tp_size": rank.world},
        dtype=dtype,
        replace_with_kernel_inject=False,
    )
    # it casts all buffers, and 16 bits are too few for these
    for module, name, found, wanted in rotary_frequencies(engine.module):
        setattr(module, name, wanted.to(found.device))
    return engine.module


def _hf_tensor(folder: Path, dtype: torch.dtype, rank: Rank) -> Any:
    from transformers.distributed import DistributedConfig

    return trained_model(folder, dtype, distributed_config=DistributedConfig(tp_size=rank.world))


def _first_head(engine: HuggingFaceEngine, rank: Rank) -> int:
    """The first attention head of this rank: as many lie before it as the lower ranks hold together."""
    projection = output_projection(engine.blocks[0])
    if projection is None:
        return 0  # then edits of heads are refused
    weight: Any = projection.weight
    mine = getattr(weight, "_local_tensor", weight).shape[1] // engine.d_head
    held = [torch.zeros(1, dtype=torch.int64, device=rank.device) for _ in range(rank.world)]
    dist.all_gather(held, torch.tensor([mine], device=rank.device))
    counts = [int(n) for n in held]
    if sum(counts) != engine.n_heads:
        raise RuntimeError(f"{counts} attention heads on the ranks, {engine.n_heads} in the model: it wasn't split")
    return sum(counts[: rank.index])


def _refuse_other_dtypes(model: Any, dtype: torch.dtype) -> None:
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != dtype:
            raise RuntimeError(f"{name} was loaded as {parameter.dtype}, not as {dtype}")


def _refuse_wrong_rotations(model: Any) -> None:
    """Rotary frequencies are no weights: a loader that starts from empty memory or casts may leave others."""
    for module, name, found, wanted in rotary_frequencies(model):
        if found.dtype != torch.float32 or not torch.allclose(found.cpu(), wanted, rtol=1e-6, atol=0):
            raise RuntimeError(f"{name} in {type(module).__name__} holds other rotary frequencies than configured")
