"""Find a model by name, path or hub id, check that it can be used, and load it into an engine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from jobs.inference.base import Engine
from jobs.inference.huggingface import HuggingFaceEngine
from tdlens.errors import UserError

REFERENCE_MODEL = Path(__file__).parent.parent / "reference" / "model"
"""The small model trained in this repository and shipped with it."""

ENGINES: dict[str, Callable[[Any, Any, str], Engine]] = {"hf": HuggingFaceEngine}
"""What can run a loaded model: name to a maker from (model, tokenizer, fingerprint)."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


def load_engine(
    model: str,
    *,
    engine: str = "hf",
    dtype: str = "float32",
    device: str = "auto",
    untrained_seed: int | None = None,
) -> Engine:
    """Load a causal language model and its tokenizer, ready for ``forward``.

    Only safetensors weights are read, and no code that comes with a model is run.

    Args:
        model: ``reference`` (the shipped model), a folder, or a Hugging Face hub id.
        engine: a name in ``ENGINES``.
        dtype: float32, bfloat16 or float16.
        device: ``auto`` (the GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        untrained_seed: instead of the weights, fresh ones of the same architecture, drawn with this seed.

    Raises:
        UserError: anything missing or unsuitable, with its remedy.
    """
    if engine not in ENGINES:
        raise UserError(f"There is no engine {engine!r}.", f"Choose one of: {', '.join(ENGINES)}.")
    if dtype not in DTYPES:
        raise UserError(f"There is no dtype {dtype!r}.", f"Choose one of: {', '.join(DTYPES)}.")
    place = _device(device)
    folder = find_model(model)
    disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        if untrained_seed is None:
            loaded, fingerprint = _trained(folder, DTYPES[dtype]), _hash_files(folder)
        else:
            loaded = _untrained(folder, untrained_seed)
            fingerprint = _hash_weights(loaded)
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


def find_model(model: str) -> Path:
    """The folder that holds a model: the shipped one, a given one, or the local copy of a hub repository.

    Raises:
        UserError: no such folder or repository, or it lacks config, weights or tokenizer.
    """
    if model == "reference":
        folder = REFERENCE_MODEL
        if not folder.is_dir():
            raise UserError(
                "The reference model isn't there.",
                f"Train it (less than half an hour): tdlens train-reference --out {REFERENCE_MODEL}",
            )
    elif (path := Path(model).expanduser()).exists():
        folder = path
    elif path.is_absolute() or model.startswith(("./", "../", "~")) or model.count("/") > 1:
        raise UserError(
            f"There is no model at {model}.",
            "Give a folder that exists, a Hugging Face id such as meta-llama/Meta-Llama-3-8B, or: reference.",
        )
    else:
        folder = _download(model)
    _refuse_incomplete(folder)
    return folder


def _download(model: str) -> Path:
    try:
        return Path(snapshot_download(model, allow_patterns=HUB_FILES, ignore_patterns=["original/*"]))
    except (OSError, HFValidationError) as error:
        raise UserError(
            f"There is no model at {model}, neither as a folder nor on the Hugging Face hub "
            f"({str(error).strip().splitlines()[0]}).",
            "Check the spelling. A gated model needs `hf auth login`; without a network, copy the model here "
            "and give its folder.",
        ) from error


def _refuse_incomplete(folder: Path) -> None:
    def refuse(what: str, remedy: str) -> UserError:
        return UserError(f"The model folder {folder} has no {what}.", remedy)

    if not (folder / "config.json").is_file():
        raise refuse("config.json", "Give the folder that save_pretrained wrote, not one above or below it.")
    if not any(folder.glob("*.safetensors")):
        raise refuse("weights (*.safetensors)", "Save the model with save_pretrained; other formats are not read.")
    if not (folder / "tokenizer.json").is_file():
        raise refuse("tokenizer (tokenizer.json)", "Save the model's fast tokenizer there: tokenizer.save_pretrained.")


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


def _hash_files(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _hash_weights(model: Any) -> str:
    whole = hashlib.sha256(model.config.to_json_string().encode())
    for name, weight in sorted(model.state_dict().items()):
        whole.update(name.encode())
        whole.update(weight.contiguous().numpy())
    return whole.hexdigest()
