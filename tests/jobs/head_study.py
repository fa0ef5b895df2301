"""A study of attention heads in a few seconds: a random GPT-2 of two blocks that reads the circuits model's words."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from jobs.circuit_model.vocabulary import build_tokenizer
from jobs.study import Study, validate

BLOCKS, HEADS, STEPS, EPISODES, POOL = 2, 4, 3, 4, 3
TASKS = ("induction", "ioi", "docstring")
SMALL: dict[str, Any] = {
    "name": "heads",
    "seed": 1,
    "bootstrap": 100,
    "task": {
        "name": "head_ablation",
        "variants": list(TASKS),
        "rollouts": EPISODES,
        "settings": {"prompts": 4, "control_tokens": 12},
    },
    "search": {"pool": POOL, "transitions": 600, "seeds": 2, "compared": ["mean", "zero"], "compared_episodes": 2}
    | {"paired": 3, "planted": False},
}
"""Every stage but that on planted circuits."""


def random_gpt2(base: Path) -> Path:
    """The saved model; made once below ``base``."""
    folder = base / "random-gpt2"
    if not folder.exists():
        tokenizer = build_tokenizer()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            config = GPT2Config(
                vocab_size=len(tokenizer),
                n_embd=32,
                n_layer=BLOCKS,
                n_head=HEADS,
                n_positions=128,
                n_inner=64,
                initializer_range=0.2,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=None,
            )
            GPT2LMHeadModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def head_study(base: Path, **changes: dict[str, Any]) -> Study:
    """The study on the saved model; ``changes`` are sections whose keys are set."""
    data = copy.deepcopy(SMALL) | {"model": {"name": str(random_gpt2(base))}}
    for key, value in changes.items():
        data[key] = data.get(key, {}) | value
    return validate(data, "small study of heads")
