"""Load a model into an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from jobs.inference.base import Engine
from jobs.inference.files import ModelFiles, find_model
from jobs.inference.fingerprint import hash_files, hash_weights
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.inference.layout import Job
from jobs.inference.parallel import Parallel
from jobs.inference.progress import Progress, silent
from jobs.inference.weights import cast_parameters, trained_model, unloadable, untrained_model
from tdlens.errors import UserError

AS_IT_SEEMS_BEST = Parallel()
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Order:
    """A model as it is to be loaded."""

    files: ModelFiles
    config: Any
    tokenizer: Any
    dtype: torch.dtype
    device: torch.device
    untrained_seed: int | None
    parallel: Parallel
    job: Job
    progress: Progress
    note: Callable[[str], None]


def load_engine(
    model: str | ModelFiles,
    *,
    engine: str = "hf",
    dtype: str = "float32",
    device: str = "auto",
    untrained_seed: int | None = None,
    parallel: Parallel = AS_IT_SEEMS_BEST,
    job: Job = "play",
    progress: Progress = silent,
    note: Callable[[str], None] = lambda line: None,
) -> Engine:
    """Load a causal language model and its tokenizer, ready for ``forward``.

    Only safetensors weights are read, and no code that comes with a model is run.

    Args:
        model: its files, or a name that ``find_model`` knows.
        engine: a name in ``ENGINES``.
        dtype: float32, bfloat16 or float16.
        device: ``auto`` (the GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        untrained_seed: instead of the weights, fresh ones of the same architecture, drawn with this seed.
        parallel: how the engine ``deepspeed`` spreads the model over processes.
        job: what the model is to do; decides how it is spread.
        progress: shows how far the reading of large files is.
        note: takes a line for people: how the model is spread, and why.

    Raises:
        UserError: anything missing or unsuitable, with its remedy.
    """
    if engine not in ENGINES:
        raise UserError(f"There is no engine {engine!r}.", f"Choose one of: {', '.join(ENGINES)}.")
    if dtype not in DTYPES:
        raise UserError(f"There is no dtype {dtype!r}.", f"Choose one of: {', '.join(DTYPES)}.")
    place = find_device(device)
    files = find_model(model, progress=progress) if isinstance(model, str) else model
    disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(files.folder, trust_remote_code=False)
        config = AutoConfig.from_pretrained(files.folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise unloadable(files.folder, error) from error
    order = Order(files, config, tokenizer, DTYPES[dtype], place, untrained_seed, parallel, job, progress, note)
    return ENGINES[engine](order)


def refuse_foreign_tokenizer(order: Order, n_embeddings: int) -> None:
    """Raise UserError where the tokenizer has tokens that the model doesn't know."""
    if len(order.tokenizer) > n_embeddings:
        raise UserError(
            f"The tokenizer in {order.files.folder} has {len(order.tokenizer)} tokens, more than the model's "
            f"{n_embeddings}.",
            "Put the model's own tokenizer beside its weights.",
        )


def _in_process(order: Order) -> Engine:
    if order.untrained_seed is None:
        loaded = trained_model(order.files.folder, order.dtype)
        fingerprint = hash_files(order.files.folder, order.progress)
    else:
        loaded = untrained_model(order.config, order.untrained_seed)
        fingerprint = hash_weights(loaded.config.to_json_string(), loaded)
        cast_parameters(loaded, order.dtype)
    refuse_foreign_tokenizer(order, loaded.get_input_embeddings().num_embeddings)
    return HuggingFaceEngine(loaded.to(order.device), order.tokenizer, fingerprint)


def _on_ranks(order: Order) -> Engine:
    from jobs.inference.ranks.order import ranked_engine

    return ranked_engine(order)


ENGINES: dict[str, Callable[[Order], Engine]] = {"hf": _in_process, "deepspeed": _on_ranks}
"""What can run a model, by name."""


def find_device(name: str) -> torch.device:
    """The device that ``auto`` (the GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N`` stands for.

    Raises:
        UserError: no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"There is no device {name!r}.", "Choose auto, cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"This machine has {torch.cuda.device_count()} GPUs, so not {name!r}.", "Choose auto or cpu.")
    return device
