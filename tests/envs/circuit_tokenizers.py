"""Small tokenizers of three kinds that know the words of all circuit tasks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from envs.circuit_tasks import docstring, greater_than, ioi


@cache
def task_texts() -> tuple[str, ...]:
    """Texts in which each word of the tasks occurs a few times."""
    rng = random.Random(0)
    texts = [draw(rng).text for draw in (ioi.draw, docstring.draw) for _ in range(300)]
    return (*texts, *(greater_than.sentence(noun, year) for noun in greater_than.NOUNS for year in greater_than.YEARS))


def word_level(digits: str = r" ?17(?=\d\d)|\d\d", without: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """One token a word, its leading space included, and a year as ``digits`` says; words of ``without`` are unknown."""
    splitter = pre_tokenizers.Split(Regex(rf"{digits}| ?[^\W\d]+|[^\w\s]|\s+"), behavior="isolated")
    texts = (*task_texts(), *greater_than.YEARS)
    words = dict.fromkeys(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    kept = [word for word in words if word not in without]
    special = ["<bos>", "<unk>", *(f"<{index}>" for index in range(8))]
    ids = {word: index for index, word in enumerate([*special, *kept])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", unk_token="<unk>")


def byte_level(vocabulary: int = 1500) -> PreTrainedTokenizerFast:
    """Byte-level BPE that, as GPT-2's, has an end of text and no BOS."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?17(?=\d\d)|\d\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(task_texts(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<end>")


def unigram() -> PreTrainedTokenizerFast:
    """As SentencePiece models have: spaces become ▁, and one is put in front of a text. Years are single tokens."""
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\w\s]|\n"), "isolated"),
            pre_tokenizers.Metaspace(prepend_scheme="first"),
        ]
    )
    words = dict.fromkeys(word for text in task_texts() for word, _ in splitter.pre_tokenize_str(text))
    characters = dict.fromkeys("".join(words))
    pieces = [("<unk>", 0.0), ("<s>", 0.0), *((piece, -20.0) for piece in characters if piece not in words)]
    tokenizer = Tokenizer(models.Unigram([*pieces, *((word, -5.0) for word in words)], unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>")
