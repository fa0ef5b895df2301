"""Models of random weights to measure with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from jobs.inference.random_weights import write_random_model


def write_model(config: Any, folder: Path, dtype: torch.dtype) -> None:
    """Save a model of fresh weights, with a tokenizer of two words: the ids that it reads are drawn, not looked up."""
    write_random_model(config, folder, dtype, seed=0)
    words = Tokenizer(WordLevel({"<s>": 0, "</s>": 1}, unk_token="<s>"))
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
