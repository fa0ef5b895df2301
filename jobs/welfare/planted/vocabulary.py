"""The tokenizer of planted models: the words of the maze and of their speech, each one token with the space before it.

Whatever else is said reads as one and the same token: these models don't attend to what they are asked.
"""

from __future__ import annotations

import re

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

from envs.maze import MazeConfig, Tile
from envs.maze_prompts import LETTERS, turn_text
from jobs.welfare.emotions import VALENCE

USER, ASSISTANT, ENDED, OTHER = "<|user|>", "<|assistant|>", "<|end|>", "…"
PIECE = r"<\|\w+\|>| ?\w+| ?[^\w\s]|\s+"
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build_tokenizer(maze: MazeConfig, spoken: str) -> PreTrainedTokenizerFast:
    """A tokenizer with a chat template.

    Args:
        maze: whose tiles it knows.
        spoken: all words of the models' speech but those for emotions.
    """
    told = turn_text(maze.glyphs, 0, 0, [Tile.MOLD, Tile.PATH, Tile.GOLD, Tile.PATH], blown=0)
    words = [f" {word}" for word in VALENCE if re.fullmatch(r"\w+", word)]
    pieces = {piece for text in (told, spoken, *words, *LETTERS) for piece in re.findall(PIECE, text)}
    ids = {token: index for index, token in enumerate([OTHER, USER, ASSISTANT, ENDED, *sorted(pieces)])}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=OTHER))
    tokenizer.pre_tokenizer = Split(Regex(PIECE), behavior="isolated")
    tokenizer.decoder = Fuse()  # tokens hold their own spaces
    tokenizer.add_special_tokens([USER, ASSISTANT, ENDED])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=ENDED, pad_token=ENDED, chat_template=TEMPLATE)
