"""The reference model's tokenizer: word-level, where a word may be a whole phrase of a prompt.

It reads the very text that the tasks write, so one prompt code serves every model. What a task says in one breath
(``. You get 8 points. Episode is over.``) is one token: a two-step episode is 7 tokens instead of 27, and a model
learns from a quarter of the compute. Decision words and actions are tokens of their own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing

from envs import graph_walk, grid_world, two_step

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BOS, PAD, UNKNOWN = "<bos>", "<pad>", "<unk>"

EPISODES = 64
POINTS = range(11)
CELLS = tuple(f" {x}, {y}. You" for y in range(5) for x in range(5))
"""What the Grid World says of a state, in the order of its states."""
ARE_AT, FINISHED, OVER = " are at", " finished with", " points.\n\n"
FINISHED_UNTOLD = ". You finished.\n\n"
OUTCOMES = (". You get -1 points. You", ". You get +1 points. You", ". You")
"""What follows a move in the Grid World: its reward, or, where rewards are removed, nothing."""

PHRASES = (
    two_step.INSTRUCTION,
    grid_world.INSTRUCTION,
    graph_walk.INSTRUCTION,
    *(f"Episode {n}: You" for n in range(EPISODES)),
    *(f". You see an {fruit}. You" for fruit in two_step.FRUITS),
    *(f". You get {points} points. Episode is over.\n\n" for points in POINTS),
    ARE_AT,
    *CELLS,
    *(f"{outcome}{ARE_AT}" for outcome in OUTCOMES),
    *(f"{outcome}{FINISHED}" for outcome in OUTCOMES[:2]),
    OVER,
    FINISHED_UNTOLD,
)
WORDS = (" pick", " go", " left", " right", " up", " down", ",")
NUMBERS = tuple(f" {n}" for n in range(-40, 41))
OBJECTS = graph_walk.WORDS[:32]
"""Names of nodes that the model knows: the first few words, so that it meets each often."""


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
