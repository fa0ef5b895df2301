"""Tiny random models and real tokenizers, made on the spot."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from envs.two_step import TwoStep, TwoStepConfig, Variant
from jobs.inference.huggingface import HuggingFaceEngine

VOCABULARY = 400
SPREAD = {"initializer_range": 0.2}
WIDTH = {"vocab_size": VOCABULARY, "hidden_size": 32, "max_position_embeddings": 512}
HEADS = {"num_attention_heads": 4, "num_hidden_layers": 3}
GROUPED = {"num_key_value_heads": 2, "intermediate_size": 64}
CONFIGS = {
    "llama": lambda: LlamaConfig(**WIDTH, **HEADS, **GROUPED, **SPREAD),
    "gpt2": lambda: GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, n_positions=512, **SPREAD),
    "qwen2": lambda: Qwen2Config(**WIDTH, **HEADS, **GROUPED, **SPREAD, tie_word_embeddings=True),
    "qwen3": lambda: Qwen3Config(**WIDTH, **HEADS, **GROUPED, head_dim=8, **SPREAD),
    "gpt_neox": lambda: GPTNeoXConfig(**WIDTH, **HEADS, intermediate_size=64, **SPREAD),
    "opt": lambda: OPTConfig(**WIDTH, **HEADS, ffn_dim=64, word_embed_proj_dim=16, init_std=0.2),
}


def small_games(n: int, episodes: int = 4) -> list[TwoStep]:
    """Rollouts of the Two-Step task, one random episode each, variants mixed."""
    variants = list(Variant)
    return [
        TwoStep(TwoStepConfig(variants[i % 3], episodes, random_episodes=1, change_episode=2), seed=i) for i in range(n)
    ]


def played_texts() -> list[str]:
    """Whole rollouts in which every word of the task occurs."""
    games = small_games(12, episodes=30)
    for index, game in enumerate(games):
        while not game.done:
            game.act((index + len(game.steps) // 2) % 2)
    return [game.transcript().text for game in games]


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """As GPT-2 and Llama 3 have: byte-level BPE; adds BOS, has no padding token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<bos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(played_texts(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>")


def unigram_tokenizer() -> PreTrainedTokenizerFast:
    """As SentencePiece models have: spaces become ▁, one is put in front; adds an end token, has no BOS."""
    marks = pre_tokenizers.Split(Regex(r"[.:\n]+"), "isolated")
    splitter = pre_tokenizers.Sequence([marks, pre_tokenizers.Metaspace(prepend_scheme="first")])
    counts = Counter(word for text in played_texts() for word, _ in splitter.pre_tokenize_str(text))
    characters = {character: -20.0 for character in sorted(set("".join(counts)))}
    words = {word: math.log(count / counts.total()) for word, count in counts.items()}
    pieces = [("<unk>", 0.0), ("</s>", 0.0), *(characters | words).items()]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")


def word_tokenizer(*texts: str) -> PreTrainedTokenizerFast:
    """Word-level: one token a word or mark, spaces dropped."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["<unk>", "<pad>"], show_progress=False)
    tokenizer.train_from_iterator(texts or played_texts(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")


TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte_level": byte_level_tokenizer,
    "unigram": unigram_tokenizer,
    "word": word_tokenizer,
}


def tiny_model(architecture: str) -> Any:
    """Random weights, the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(CONFIGS[architecture]())


def tiny_engine(architecture: str, tokenizer: str = "byte_level") -> HuggingFaceEngine:
    return HuggingFaceEngine(tiny_model(architecture), TOKENIZERS[tokenizer](), fingerprint="")


class Sparse(torch.nn.Module):
    """A ReLU autoencoder in raw units with random weights: what edits need of one."""

    def __init__(self, d: int, n_latents: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.encoder = torch.randn(d, n_latents, generator=generator) / d**0.5
        self.rows = torch.randn(n_latents, d, generator=generator)
        self.bias = torch.randn(d, generator=generator)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.encoder).relu()

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z @ self.rows + self.bias

    def decoder_rows(self) -> torch.Tensor:
        return self.rows
