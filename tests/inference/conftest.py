"""Tiny engines and a saved tiny model for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import byte_level_tokenizer, tiny_engine, tiny_model

from jobs.inference.huggingface import HuggingFaceEngine

torch.set_num_threads(1)  # tiny tensors: threads would only wait for each other


@pytest.fixture(params=["llama", "gpt2", "qwen2"])
def engine(request: pytest.FixtureRequest) -> HuggingFaceEngine:
    return tiny_engine(request.param)


@pytest.fixture
def llama() -> HuggingFaceEngine:
    return tiny_engine("llama")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder as save_pretrained writes it."""
    folder = tmp_path / "model"
    tiny_model("llama").save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return folder
