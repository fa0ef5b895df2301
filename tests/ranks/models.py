"""Small random models on disk, each with the engine that runs it in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from jobs.inference.huggingface import HuggingFaceEngine
from tests.inference.tiny import CONFIGS, VOCABULARY, byte_level_tokenizer


def llama3() -> LlamaConfig:
    """Llama 3's architecture, small: grouped queries, its rotary base; a context beyond DeepSpeed's own limit."""
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.2,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
    )


@dataclass(frozen=True)
class Saved:
    """A model in a folder, and in this process."""

    folder: Path
    config: Any
    plain: HuggingFaceEngine


def saved_model(architecture: str, folder: Path) -> Saved:
    """Make and save a model: ``llama3`` or a name in ``CONFIGS``."""
    config = llama3() if architecture == "llama3" else CONFIGS[architecture]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
    tokenizer = byte_level_tokenizer()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Saved(folder, config, HuggingFaceEngine(model, tokenizer, "fingerprint"))
