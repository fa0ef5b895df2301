"""Base models read the task's text as it is: one BOS in front, no chat template, though the tokenizer may have one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import byte_level_tokenizer, small_games

from jobs.inference.base import Forward, TokenBatch
from jobs.inference.models import load_engine
from jobs.inference.play import play, replay

TEMPLATE = "{% for message in messages %}<|start|>{{ message.role }}<|end|>{{ message.content }}{% endfor %}"


@pytest.fixture
def chatty(saved: Path) -> Path:
    """A model whose tokenizer has a chat template, as instruction-tuned ones and some base models do."""
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(saved)
    assert (saved / "chat_template.jinja").read_text() == TEMPLATE
    return saved


def test_a_chat_template_is_not_applied(chatty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load_engine(str(chatty))
    assert "start" in engine.tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    rows: list[list[int]] = [[], []]
    forward = engine.forward

    def reading(tokens: TokenBatch, **arguments: Any) -> Forward:
        for row, ids, mask in zip(rows, tokens.ids, tokens.mask, strict=True):
            row.extend(ids[mask].tolist())
        return forward(tokens, **arguments)

    monkeypatch.setattr(engine, "forward", reading)
    games = small_games(2)
    played = play(engine, games, seed=0)
    bos = engine.tokenizer.bos_token_id
    for row, transcript in zip(rows, played.transcripts, strict=True):
        assert row[0] == bos
        assert bos not in row[1:]
        text = engine.tokenizer.decode(row[1:])
        assert transcript.text.startswith(text)
        assert len(transcript.text) - len(text) < 120  # what comes after the last decision isn't read

    rows[:] = [[], []]
    again = replay(engine, played.transcripts, games[0].actions)
    for row, transcript in zip(rows, played.transcripts, strict=True):
        assert row[0] == bos
        assert transcript.text.startswith(engine.tokenizer.decode(row[1:]))
    assert torch.allclose(torch.as_tensor(again.probabilities), torch.as_tensor(played.probabilities), atol=1e-4)
