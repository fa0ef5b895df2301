"""Sharing a model out among ranks: ZeRO-3, DeepSpeed's tensor parallelism, or that of Hugging Face."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import AutoConfig

from jobs.inference.blocks import output_projection
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.inference.ranks.join import Rank
from jobs.inference.ranks.nvme import refuse_unbuildable
from jobs.inference.weights import trained_model

PERSISTENT = 100_000
"""ZeRO-3: parameters up to this size stay whole on every rank."""


def load(layout: str, folder: Path, dtype: torch.dtype, rank: Rank, offload: dict[str, Any]) -> HuggingFaceEngine:
    """The part of the model that this rank runs, behind the interface of the whole.

    Args:
        layout: ``single``, ``zero3``, ``tensor`` or ``hf_tensor``.
        folder: configuration and weights.
        dtype: of the weights. DeepSpeed's own default, float16, is never left to happen.
        rank: which of the ranks.
        offload: ZeRO-3: ``offload_param`` of DeepSpeed's configuration; empty for none.

    Raises:
        UserError: the weights are damaged, or the architecture is unsuitable.
        RuntimeError: the library loaded something else than the weights.
    """
    loaders: dict[str, Callable[[], Any]] = {
        "single": lambda: trained_model(folder, dtype).to(rank.device),
        "zero3": lambda: _zero3(folder, dtype, offload),
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


def _zero3(folder: Path, dtype: torch.dtype, offload: dict[str, Any]) -> Any:
    import deepspeed
    from transformers.integrations import HfDeepSpeedConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config()
    block = 12 * int(config.hidden_size) ** 2
    zero: dict[str, Any] = {
        "stage": 3,
        "stage3_param_persistence_threshold": min(PERSISTENT, block // 100),
        "stage3_prefetch_bucket_size": block,
        "stage3_max_live_parameters": 4 * block,
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
    # its own limit of 1,024 tokens would hold for generate alone; the model's is checked before each call
    engine = deepspeed.init_inference(
        model,
        tensor_parallel={"tp_size": rank.world},
        dtype=dtype,
        replace_with_kernel_inject=False,
        max_out_tokens=int(getattr(model.config.get_text_config(), "max_position_embeddings", 1024)),
    )
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
    """Rotary frequencies are no weights, so a loader that starts from empty memory can leave anything in them."""
    for name, module in model.named_modules():
        found, config = getattr(module, "inv_freq", None), getattr(module, "config", None)
        if found is None or config is None:
            continue
        wanted = type(module)(config).inv_freq.to(found)
        if not torch.allclose(found, wanted, rtol=1e-3):
            raise RuntimeError(f"the rotary frequencies in {name} are not those of the configuration")
