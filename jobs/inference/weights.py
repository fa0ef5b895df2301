"""A model's weights, from its folder and from nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM

from tdlens.errors import UserError


def trained_model(folder: Path, dtype: torch.dtype, **options: Any) -> Any:
    """The causal language model in a folder. Only safetensors are read, and no code that comes with it is run.

    Args:
        folder: what ``save_pretrained`` wrote.
        dtype: of the weights.
        options: further ones of ``from_pretrained``.

    Raises:
        UserError: damaged or incomplete weights, or no causal language model that ``transformers`` knows.
    """
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are reported, and refused here by name
            **options,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise unloadable(folder, error) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise unloadable(folder, ValueError(f"the weights lack {len(missing)} parameters, {missing[0]} among them"))
    if report["mismatched_keys"]:
        name, found, wanted = sorted(report["mismatched_keys"])[0]
        shapes = f"{list(found)}, and the configuration says {list(wanted)}"
        raise unloadable(folder, ValueError(f"the shape of {name} is {shapes}"))
    return model


def cast_parameters(model: Any, dtype: torch.dtype) -> Any:
    """The model with its parameters in another dtype, and its buffers as they are.

    Rotary frequencies are buffers: in 16 bits they turn a text's later tokens to other positions.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def rotary_frequencies(model: Any) -> Iterator[tuple[Any, str, Tensor, Tensor]]:
    """Each module with rotary frequencies, the buffer's name, what it holds, and what the configuration says."""
    for module in model.modules():
        names = [name for name, _ in module.named_buffers(recurse=False) if name.endswith("inv_freq")]
        if names and getattr(module, "config", None) is not None:
            fresh = type(module)(module.config)
            yield from ((module, name, getattr(module, name), getattr(fresh, name)) for name in names)


def untrained_model(config: Any, seed: int) -> Any:
    """Fresh weights of an architecture, drawn with ``seed``, float32 on the CPU.

    Raises:
        UserError: no causal language model that ``transformers`` knows.
    """
    # transformers initialises from the global generator: lend it one, and put everything back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
        except ValueError as error:
            raise UserError(
                f"{type(config).__name__} describes no causal language model: {error}", "Use a decoder-only model."
            ) from error


def unloadable(folder: Path, error: Exception) -> UserError:
    """What is said of a model that can't be loaded."""
    return UserError(
        f"The model in {folder} can't be loaded: {str(error).strip()}",
        "Copy or download it again; it must be a causal language model that transformers knows.",
    )
