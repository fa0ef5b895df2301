"""Small models and tokenizers that can play the maze, made on the spot."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from envs.maze import MazeConfig, Tile
from envs.maze_prompts import LETTERS, plain, turn_text
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.maze_training.config import Layout
from jobs.maze_training.dialogue import Dialogue
from jobs.maze_training.policy import Policy

EASY = MazeConfig(size=8, turns=3, wind_probability=0.0, melting=False, gold_ratio=0.6)
WINDY = MazeConfig(size=8, turns=4, wind_probability=0.5)
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|> {{ message['content'] }} <|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)


def texts(config: MazeConfig = EASY) -> list[str]:
    """In which every word of the maze occurs."""
    told = [
        turn_text(config.glyphs, at, at, [Tile.MOLD, Tile.PATH, Tile.GOLD, Tile.PATH], blown=at % 4)
        for at in range(config.size)
    ]
    return [plain(told, [at % 4 for at in range(len(told))]), *LETTERS]


def word_level(template: str | None = None, without: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """A token for each word and mark."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"<\|\w+\|>|\w+|[^\w\s]"), "removed", invert=True)
    special = ["<unk>", "<|user|>", "<|assistant|>", "<|end|>"]
    known = [text.replace(word, "") for text in texts() for word in (without or ("nothing of this",))]
    tokenizer.train_from_iterator(known, trainers.WordLevelTrainer(special_tokens=special, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", chat_template=template)


def byte_level(template: str | None = None) -> PreTrainedTokenizerFast:
    """As most language models have: a tile may be several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template)


def llama(vocabulary: int, seed: int = 0) -> LlamaForCausalLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocabulary,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                intermediate_size=64,
                max_position_embeddings=2048,
                initializer_range=0.1,
                tie_word_embeddings=True,
                bos_token_id=None,
                eos_token_id=None,
            )
        )


def gpt2(vocabulary: int) -> GPT2LMHeadModel:
    """With dropout, which must not act."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocabulary,
                n_embd=32,
                n_layer=2,
                n_head=2,
                n_positions=2048,
                initializer_range=0.1,
                bos_token_id=None,
                eos_token_id=None,
            )
        )


def small_policy(
    config: MazeConfig = EASY, tokenizer: PreTrainedTokenizerFast | None = None, architecture: str = "llama"
) -> Policy:
    tokenizer = tokenizer or word_level()
    model = {"llama": llama, "gpt2": gpt2}[architecture](len(tokenizer))
    return Policy(HuggingFaceEngine(model, tokenizer, ""), Dialogue(tokenizer, config, Layout.AUTO))


def save_player(folder: Path, seed: int = 0) -> Path:
    """A model's folder."""
    tokenizer = word_level()
    tokenizer.save_pretrained(folder)
    llama(len(tokenizer), seed=seed).save_pretrained(folder)
    return folder
