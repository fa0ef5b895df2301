"""Models with random weights on disk, written block by block: of any depth and width, in the memory of one block."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM

from jobs.inference.blocks import decoder_blocks
from jobs.inference.files import INDEX
from jobs.inference.progress import Progress, silent


def write_random_model(config: Any, folder: Path, dtype: torch.dtype, seed: int, progress: Progress = silent) -> None:
    """Write configuration and fresh weights, as the architecture initialises them, one shard a decoder block.

    The numbers are drawn in ``dtype`` from the first. They aren't those that ``untrained_model`` draws with this seed.

    Args:
        config: a ``transformers`` configuration; its depth is the model's.
        folder: exists; gets ``config.json``, safetensors shards and their index.
        dtype: of the weights.
        seed: of the random numbers.
        progress: shows how far it is, in MB.

    Raises:
        UserError: not a decoder-only transformer of a shape known here.
        OSError, SafetensorError: the disk is full.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=dtype, trust_remote_code=False)
    sizes = {name: weight.numel() * weight.element_size() for name, weight in model.named_parameters()}
    index: dict[str, str] = {}
    # the library's initialisation draws from the global generator: lend it one, and put everything back
    with torch.random.fork_rng(devices=[]), progress("random weights (MB)", sum(sizes.values()) / 1e6) as advance:
        torch.manual_seed(seed)
        for number, (prefix, part) in enumerate(_parts(model)):
            # a tied weight has two names and is written under the first
            names = [name for name, _ in part.named_parameters() if f"{prefix}.{name}" in sizes]
            if names:
                _draw(model, part)
                shard = f"model-{number:05d}.safetensors"
                weights = {f"{prefix}.{name}": part.get_parameter(name).detach() for name in names}
                save_file(weights, folder / shard, metadata={"format": "pt"})
                index |= dict.fromkeys(weights, shard)
                advance(sum(sizes[name] for name in weights) / 1e6)
                part.to("meta")
                del weights
    about = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": index}
    (folder / INDEX).write_text(json.dumps(about), encoding="utf-8")
    model.config.save_pretrained(folder)


def _parts(model: Any) -> Iterator[tuple[str, nn.Module]]:
    """The decoder blocks, and whatever else holds weights of its own, by name."""
    blocks = {id(block) for block in decoder_blocks(model)}

    def within(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        if id(module) in blocks or next(module.parameters(recurse=False), None) is not None:
            yield name, module
            return
        for child_name, child in module.named_children():
            yield from within(f"{name}.{child_name}" if name else child_name, child)

    return within("", model)


@torch.no_grad()
def _draw(model: Any, part: nn.Module) -> None:
    part.to_empty(device="cpu")
    for module in reversed(list(part.modules())):  # parents last: some initialise their children's weights anew
        model._init_weights(module)
