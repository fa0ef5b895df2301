"""Load a model into an engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from jobs.inference.base import Engine
from jobs.inference.files import ModelFiles, find_model
from jobs.inference.fingerprint import hash_files, hash_weights
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.inference.progress import Progress, silent
from tdlens.errors import UserError

ENGINES: dict[str, Callable[[Any, Any, str], Engine]] = {"hf": HuggingFaceEngine}
"""What can run a loaded model: name to a maker from (model, tokenizer, fingerprint)."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_engine(
    model: str | ModelFiles,
    *,
    engine: str = "hf",
    dtype: str = "float32",
    device: str = "auto",
    untrained_seed: int | None = None,
    progress: Progress = silent,
) -> Engine:
    """Load a causal language model and its tokenizer, ready for ``forward``.

    Only safetensors weights are read, and no code that comes with a model is run.

    Args:
        model: its files, or a name that ``find_model`` knows.
        engine: a name in ``ENGINES``.
        dtype: float32, bfloat16 or float16.
        device: ``auto`` (the GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        untrained_seed: instead of the weights, fresh ones of the same architecture, drawn with this seed.
        progress: shows how far the reading of large files is.

    Raises:
        UserError: anything missing or unsuitable, with its remedy.
    """
    if engine not in ENGINES:
        raise UserError(f"There is no engine {engine!r}.", f"Choose one of: {', '.join(ENGINES)}.")
    if dtype not in DTYPES:
        raise UserError(f"There is no dtype {dtype!r}.", f"Choose one of: {', '.join(DTYPES)}.")
    place = _device(device)
    files = find_model(model, progress=progress) if isinstance(model, str) else model
    folder = files.folder
    disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        if untrained_seed is None:
            loaded, fingerprint = _trained(folder, DTYPES[dtype]), hash_files(folder, progress)
        else:
            loaded = _untrained(folder, untrained_seed)
            fingerprint = hash_weights(loaded)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"The model in {folder} can't be loaded: {str(error).strip()}",
            "Copy or download it again; it must be a causal language model that transformers knows.",
        ) from error
    if len(tokenizer) > loaded.get_input_embeddings().num_embeddings:
        raise UserError(
            f"The tokenizer in {folder} has {len(tokenizer)} tokens, more than the model's "
            f"{loaded.get_input_embeddings().num_embeddings}.",
            "Put the model's own tokenizer beside its weights.",
        )
    return ENGINES[engine](loaded.to(place, DTYPES[dtype]), tokenizer, fingerprint)


def _trained(folder: Path, dtype: torch.dtype) -> Any:
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, trust_remote_code=False, use_safetensors=True, output_loading_info=True
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(f"the weights lack {len(missing)} parameters, {missing[0]} among them")
    return model


def _untrained(folder: Path, seed: int) -> Any:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    # transformers initialises from the global generator: lend it one, and put everything back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"There is no device {name!r}.", "Choose auto, cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"This machine has {torch.cuda.device_count()} GPUs, so not {name!r}.", "Choose auto or cpu.")
    return device
