"""Teacher-forced studies in a few seconds: a random Llama 16 wide whose every word is a token."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from envs.graph_walk import WORDS, GraphWalk, GraphWalkConfig
from envs.grid_world import GridWorld, GridWorldConfig, Variant
from jobs.inference.play import tell
from jobs.study import Study, validate

BLOCKS, WIDTH, ROLLOUTS, STEPS = 3, 16, 6, 30
GRID: dict[str, Any] = {
    "name": "grid",
    "seed": 3,
    "bootstrap": 100,
    "task": {
        "name": "grid_world",
        "rollouts": ROLLOUTS,
        "controls": ["random", "removed"],
        "settings": {"steps": STEPS, "cap": 9, "epsilon": 0.8},
    },
    "sae": [{"name": "topk", "architecture": "topk", "options": {"k": 4, "centre": True}, "epochs": 4, "lr": 0.01}],
    "correlate": {"permutations": 39, "top": 5, "controls": ["untrained"]},
}
GRAPH: dict[str, Any] = {
    "name": "graph",
    "seed": 3,
    "bootstrap": 100,
    "task": {"name": "graph_walk", "rollouts": ROLLOUTS, "further_rollouts": 3, "settings": {"steps": STEPS}},
    "sae": [{"name": "topk", "architecture": "topk", "options": {"k": 4, "centre": True}, "epochs": 4, "lr": 0.01}],
    "correlate": {"permutations": 39, "top": 5, "controls": []},
}


def pieces(text: str) -> list[str]:
    """Words with the space before them, signs, and blank lines."""
    return [piece for piece, _ in pre_tokenizers.Split(SPLIT, "isolated").pre_tokenize_str(text)]


SPLIT = Regex(r" ?\w+|\n+| ?[^\w\s]")


def word_level(*, without: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """Every piece of what the tasks say is a token, but for some words, which are unknown."""
    texts = [
        tell(GridWorld(GridWorldConfig(variant, steps=300, cap=9), seed)).text for variant in Variant for seed in (0, 1)
    ]
    texts += [tell(GraphWalk(GraphWalkConfig(steps=1), 0)).text]
    known = {piece for text in texts for piece in pieces(text)} | {
        form for word in WORDS for form in (word, f" {word}")
    }
    known |= {f" {n}" for n in range(40)} | set("0123456789") | {f"{n}" for n in range(40)}
    unwanted = {form for word in without for form in (word, f" {word}")}
    vocabulary = {token: index for index, token in enumerate(["<unk>", "<pad>", *sorted(known - unwanted)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(SPLIT, "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")


def model_folder(base: Path) -> Path:
    """The saved model; made once below ``base``."""
    folder = base / "random-reader"
    if not folder.exists():
        tokenizer = word_level()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            config = LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=WIDTH,
                intermediate_size=32,
                num_hidden_layers=BLOCKS,
                num_attention_heads=2,
                num_key_value_heads=2,
                max_position_embeddings=1024,
                initializer_range=0.3,
            )
            LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def study(base: Path, data: dict[str, Any], **changes: Any) -> Study:
    """A study on the saved model, in two batches; ``changes`` are top-level sections whose keys are set."""
    data = copy.deepcopy(data) | {"model": {"name": str(model_folder(base)), "batch_size": ROLLOUTS - 2}}
    for key, value in changes.items():
        data[key] = data.get(key, {}) | value if isinstance(value, dict) else value
    return validate(data, "forced study")
