"""The reference model's tokenizer: word-level, where a word may be a whole phrase of a prompt.

It reads the very text that the tasks write, so one prompt code serves every model. What a task says in one breath
(``. You get 8 points. Episode is over.``) is one token: a two-step episode is 7 tokens instead of 27, and a model
learns from a quarter of the compute. Decision words and actions are tokens of their own. The vocabulary already
holds what the grid and graph tasks say, so that a later reference model keeps these ids.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing

from envs import two_step

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BOS, PAD, UNKNOWN = "<bos>", "<pad>", "<unk>"

GRID_INSTRUCTION = (
    "You are living on a two-dimensional grid-world. You have 4 actions, left, right, up and down. "
    "Your goal is to get to the goal in as few steps as possible.\n\n"
)
GRAPH_INSTRUCTION = "What is the next object in the following sequence?\n\n"

EPISODES = 64
POINTS = range(11)
CELLS = tuple(f" {x}, {y}. You" for x in range(5) for y in range(5))

PHRASES = (
    two_step.INSTRUCTION,
    GRID_INSTRUCTION,
    GRAPH_INSTRUCTION,
    *(f"Episode {n}: You" for n in range(EPISODES)),
    *(f". You see an {fruit}. You" for fruit in two_step.FRUITS),
    *(f". You get {points} points. Episode is over.\n\n" for points in POINTS),
    " are at",
    *CELLS,
    ". You get -1 points. You are at",
    ". You get +1 points. You are at",
    ". You get +1 points. You finished with",
    " points.\n\n",
)
WORDS = (" pick", " go", " left", " right", " up", " down", ",")
NUMBERS = tuple(f" {n}" for n in range(-40, 3))
OBJECTS = (
    "grill rasp cup vent dart hat oil ice tea fork urn gel bell lime net cake horse gift woman wall "
    "sock ant axe bag ball bat bed bee belt bike bird boat bone book boot bowl box bread brush bus "
    "car cat chain chair clock coat coin corn cow crab crown desk dog door drum duck egg fan fish "
    "flag frog glove goat"
).split()


def tokens() -> list[str]:
    """Every token in the order of its id."""
    objects = [form for name in OBJECTS for form in (f" {name}", name)]
    return [PAD, BOS, UNKNOWN, *PHRASES, *WORDS, *NUMBERS, *objects]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, as any Hugging Face model has one (saved beside the weights)."""
    from transformers import PreTrainedTokenizerFast

    vocabulary = tokens()
    ids = {token: index for index, token in enumerate(vocabulary)}
    fixed = "|".join(re.escape(phrase) for phrase in sorted(PHRASES, key=len, reverse=True))
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = Split(Regex(rf"{fixed}| ?[+-]?\w+|[^\w\s]|\s+"), behavior="isolated")
    tokenizer.decoder = Fuse()  # tokens hold their own spaces
    tokenizer.post_processor = TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, ids[BOS])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, pad_token=PAD, unk_token=UNKNOWN, padding_side="left"
    )
