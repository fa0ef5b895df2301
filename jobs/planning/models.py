"""The sizes and the tokenizer of a model, from whatever this machine has of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from transformers import AutoConfig, AutoTokenizer

from jobs.inference.files import find_model
from jobs.inference.hub import MAIN
from jobs.inference.shapes import ModelShape, shipped_config
from tdlens.errors import UserError


@dataclass(frozen=True, eq=False)
class KnownModel:
    """What is known of a model without its weights."""

    shape: ModelShape
    tokenizer: Any | None
    """None where it isn't on this machine."""
    source: str
    """Where this is known from, for people."""


def known_model(model: str, revision: str = MAIN) -> KnownModel:
    """A model's sizes: from its folder, from the hub's local cache, as shipped with tdlens, or from the hub.

    Args:
        model: ``reference``, a folder, or a Hugging Face hub id.
        revision: of a hub repository.

    Raises:
        UserError: no such model, or one of an architecture that isn't known.
    """
    folder = _cached(model, revision)
    if folder is None and not Path(model).expanduser().exists() and (config := shipped_config(model)) is not None:
        source = "sizes shipped with tdlens, as the model isn't on this machine"
        return KnownModel(ModelShape.of(config), None, source)
    if folder is None:
        folder = find_model(model, revision, weights=False).folder
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        return KnownModel(ModelShape.of(config), tokenizer, f"configuration in {folder}")
    except (OSError, ValueError) as error:
        raise UserError(
            f"The configuration in {folder} can't be read: {str(error).strip()}",
            "It must be a causal language model that transformers knows, with its tokenizer beside it.",
        ) from error


def _cached(model: str, revision: str) -> Path | None:
    if model.count("/") != 1 or Path(model).expanduser().exists():
        return None
    configuration = try_to_load_from_cache(model, "config.json", revision=revision)
    tokenizer = try_to_load_from_cache(model, "tokenizer.json", revision=revision)
    return Path(configuration).parent if isinstance(configuration, str) and isinstance(tokenizer, str) else None
