"""Operations counted by a plan against those that PyTorch counts, and passes against those that are made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from envs import TASKS
from jobs.inference.base import Forward, TokenBatch
from jobs.inference.play import play, read, replay, texts_at_once
from jobs.inference.shapes import ModelShape
from jobs.planning.texts import Texts, measure
from jobs.planning.work import (
    Flops,
    capture_passes,
    play_passes,
    read_passes,
    sae_parameters,
    sae_pass_flops,
    sae_step_flops,
)
from sae.architectures import build
from sae.config import SAEConfig
from tests.inference.tiny import TOKENIZERS, small_games, tiny_engine

ROWS, LENGTH = 3, 40


def counted(work: Any) -> int:
    # the processor's fused attention isn't counted
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2", "qwen3", "gpt_neox"])
def test_operations_of_a_forward_pass(architecture: str) -> None:
    """PyTorch counts attention as if every token saw all others."""
    engine = tiny_engine(architecture)
    shape = ModelShape.of(engine.model.config)
    tokens = TokenBatch(torch.ones(ROWS, LENGTH, dtype=torch.int64), torch.ones(ROWS, LENGTH, dtype=torch.bool))
    positions = torch.tensor([[LENGTH - 1]] * ROWS)
    expected = Flops.of(shape, ROWS * LENGTH, ROWS * LENGTH**2, ROWS)
    assert counted(lambda: engine.forward(tokens, positions=positions)) == pytest.approx(expected.total, rel=0.02)
    early = Flops.of(shape, ROWS * LENGTH, ROWS * LENGTH**2, 0, last=1)
    left = counted(lambda: engine.forward(tokens, positions=positions, capture=[1], logits=False))
    assert left == pytest.approx(early.total, rel=0.02)


@pytest.mark.parametrize("architecture", ["relu", "topk"])
def test_operations_of_a_training_step(architecture: str) -> None:
    options = {"l1": 1e-3} if architecture == "relu" else {"k": 4}
    config = SAEConfig(architecture, 32, 64, **options)  # type: ignore[arg-type]
    sae = build(config, torch.Generator().manual_seed(0))
    h = torch.randn(50, 32)

    def step() -> None:
        sae.loss(h).loss.backward()

    assert counted(step) == pytest.approx(sae_step_flops(config, 50), rel=0.02)
    with torch.no_grad():
        assert counted(lambda: sae.encode(h)) == pytest.approx(sae_pass_flops(config, 50), rel=0.02)
    assert sum(p.numel() for p in sae.parameters()) == sae_parameters(config)


class Watched:
    """An engine whose forward passes are noted: rows, new tokens, tokens seen before, positions."""

    def __init__(self) -> None:
        self._engine = tiny_engine("llama")
        self.passes: list[tuple[int, int, int, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def forward(self, tokens: TokenBatch, *, positions: Tensor, cache: Any | None = None, **asked: Any) -> Forward:
        seen = 0 if cache is None else cache.mask.shape[-1]
        self.passes.append((*tokens.ids.shape, seen, positions.shape[1]))
        return self._engine.forward(tokens, positions=positions, cache=cache, **asked)


def ignore(activations: dict[int, Tensor]) -> None:
    """Take what is captured and keep nothing."""


def test_passes_are_those_that_are_made() -> None:
    """Of games whose texts all have the same tokens, so that the sample's longest are everyone's."""
    engine = Watched()
    played = play(engine, small_games(5), seed=0, batch_size=2, capture=[1], take=ignore)
    lengths = np.diff(played.token_positions, axis=1, prepend=-1)
    texts = Texts(lengths, measured=True)
    made, engine.passes = engine.passes, []
    assert sum(count for _, count in play_passes(texts, 5, 2)) == len(made)
    expected = sorted((p.rows, p.new, p.seen, p.captured) for p, n in play_passes(texts, 5, 2) for _ in range(n))
    assert [m[0] for m in sorted(made)] == [e[0] for e in expected]
    tokens = sum(rows * new for rows, new, *_ in made)
    assert sum(p.tokens * n for p, n in play_passes(texts, 5, 2)) == pytest.approx(tokens, rel=0.05)

    replay(engine, played.transcripts, (" left", " right"))
    read(engine, played.transcripts, capture=[2], take=ignore)
    whole = (5, texts.longest, 0, texts.n_decisions)
    assert engine.passes == [whole, whole]
    ((again, n),) = read_passes(texts, 5, 16)
    assert (again.rows, again.new, again.seen, again.predicted, n) == (*whole, 1)
    ((captured, _),) = capture_passes(texts, 5, 16, 2)
    assert (captured.captured, captured.predicted, captured.last) == (texts.n_decisions, 0, 2)


def test_whole_texts_are_read_by_each_reader_and_never_more_than_the_batch() -> None:
    assert [texts_at_once(100, readers) for readers in (1, 2, 8)] == [16, 32, 100]
    assert texts_at_once(4, 1) == texts_at_once(4, 8) == 4


def test_pairs_of_a_pass_with_a_cache() -> None:
    """Four rollouts of 30 tokens, read in pieces of ten, see what they would see when read at once."""
    texts = Texts(np.full((4, 3), 10), measured=True)
    in_pieces = sum(p.pairs * n for p, n in play_passes(texts, 4, 4))
    assert in_pieces == sum(p.pairs * n for p, n in read_passes(texts, 4, 4)) == 4 * 30 * 31 // 2


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_tokens_of_a_rollout_are_those_that_a_player_reads(tokenizer: str) -> None:
    task = TASKS["two_step"]
    settings = {"episodes": 4, "random_episodes": 1, "change_episode": 2}
    texts = measure(task, settings, task.variants, 0, TOKENIZERS[tokenizer]())
    engine = tiny_engine("llama", tokenizer)
    played = play(engine, small_games(12), seed=0)
    assert texts.measured
    assert texts.n_decisions == played.token_positions.shape[1]
    assert texts.tokens == pytest.approx((played.token_positions[:, -1] + 1).mean(), rel=0.03)


def test_words_stand_in_for_a_tokenizer_that_is_not_here() -> None:
    """One token a word, number or mark: as many as the word-level tokenizer makes, and one in front."""
    task = TASKS["two_step"]
    settings = {"episodes": 30, "random_episodes": 7, "change_episode": 15}
    guessed = measure(task, settings, ("standard",), 3, None)
    exact = measure(task, settings, ("standard",), 3, TOKENIZERS["word"]())
    assert not guessed.measured
    assert guessed.tokens == pytest.approx(exact.tokens, rel=0.2)
    assert guessed.tokens >= exact.tokens
