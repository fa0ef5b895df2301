"""Models of random weights to measure with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast


def write_random_model(config: Any, folder: Path, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
    """Draw a model's weights on a device and save them, with a tokenizer of two words, as a model is saved."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.save_pretrained(folder)
    words = Tokenizer(WordLevel({"<s>": 0, "</s>": 1}, unk_token="<s>"))
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
