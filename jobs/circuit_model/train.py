"""Train the circuits model from scratch by next-token prediction.

Every optimiser step sees some rows of each kind of the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from jobs import from_scratch
from jobs.circuit_model.corpus import KINDS, Corpus, Rows
from jobs.circuit_model.vocabulary import BOS, build_tokenizer, tokens
from jobs.from_scratch import Optimisers, Progress, Step

SCALE, LONGEST = 0.1, 200.0
"""Of the numbers with which words and positions begin; the longest wavelength of positions over the shortest."""


@dataclass(frozen=True)
class Phase:
    """A part of the training."""

    steps: int
    """Optimiser steps."""
    rows: Mapping[str, int]
    """Rows of each kind in a step of length 64; in proportion more in shorter ones, fewer in longer ones."""
    lengths: tuple[int, ...]
    """Tokens after BOS in the rows of random words and control text; one a step, drawn at random."""


SENTENCES = {"docstring": 8, "ioi": 16, "greater_than": 12}
PHASES = (
    Phase(1200, {"spans": 20, "control": 3, **SENTENCES}, (16, 32)),
    Phase(1000, {"spans": 20, "periods": 4, "control": 6, **SENTENCES}, (32, 64)),
    Phase(1200, {"spans": 16, "periods": 8, "control": 10, **SENTENCES}, (64, 64, 128)),
)
"""Long rows cost most and teach least at first, so they come when the rest has been learned."""


@dataclass(frozen=True)
class CircuitModelConfig:
    """Size, optimisation and data of the circuits model; the defaults made the shipped weights."""

    d_model: int = 128
    """Width of the residual stream."""
    n_blocks: int = 6
    """Decoder blocks."""
    n_heads: int = 4
    """Attention heads a block."""
    d_mlp: int = 256
    """Width of the MLP."""
    context: int = 128
    """Positions."""
    phases: tuple[Phase, ...] = PHASES
    """The training, part by part."""
    muon_rate: float = 5e-3
    """Peak rate of Muon, which trains the blocks' matrices; scaled to AdamW's root mean square."""
    adamw_rate: float = 3e-3
    """Peak rate of AdamW, which trains embeddings, biases and norms."""
    weight_decay: float = 0.01
    """Of the blocks' matrices."""
    warm_up: int = 100
    """Steps over which the rates rise."""
    decay: float = 0.4
    """Share of the steps, at the end, in which the rates fall linearly to zero."""
    bf16: bool = False
    """Autocast to bfloat16 (faster where the CPU has it); parameters stay float32."""
    seed: int = 0
    """Seeds weights and data."""


def gpt2_config(config: CircuitModelConfig) -> GPT2Config:
    """The architecture, with the ids of the model's tokenizer."""
    vocabulary = tokens()
    return GPT2Config(
        vocab_size=len(vocabulary),
        n_positions=config.context,
        n_embd=config.d_model,
        n_layer=config.n_blocks,
        n_head=config.n_heads,
        n_inner=config.d_mlp,
        activation_function="gelu_pytorch_tanh",  # the same function as GPT-2's gelu_new, in one kernel
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=vocabulary.index(BOS),
        eos_token_id=None,
    )


def train(
    config: CircuitModelConfig, out: Path, on_progress: Callable[[Progress], None] | None = None, every: int = 50
) -> GPT2LMHeadModel:
    """Train, save weights (safetensors) and tokenizer into ``out``, and return the model.

    Args:
        config: everything that decides the result; the same configuration gives the same weights on the same
            hardware and thread count.
        out: folder, made if missing.
        on_progress: called every ``every`` steps with running means since the last call.
    """
    model = from_scratch.initialised(lambda: GPT2LMHeadModel(gpt2_config(config)), config.seed)
    _begin(model)
    from_scratch.train(model, build_tokenizer(), config, _schedule(model, config), out, on_progress, every)
    return model


def _schedule(model: GPT2LMHeadModel, config: CircuitModelConfig) -> Iterator[Step]:
    """Every step: one rise and one fall of the rates, whatever the phase."""
    optimisers, steps = Optimisers(model, _matrices(model), config), from_scratch.n_steps(config)
    for number, rows in enumerate(_batches(config), start=1):
        rate = from_scratch.share_of_peak(number, steps, warm_up=config.warm_up, decay=config.decay)
        yield Step(rows, optimisers, rate)


def _batches(config: CircuitModelConfig) -> Iterator[dict[str, Rows]]:
    """For every step its rows of each kind."""
    corpus, rng = Corpus(config.seed), np.random.default_rng(config.seed)
    for phase in config.phases:
        for _ in range(phase.steps):
            length = phase.lengths[int(rng.integers(len(phase.lengths)))]
            yield {kind: KINDS[kind](corpus, max(1, n * 64 // length), length, rng) for kind, n in phase.rows.items()}


@torch.no_grad()
def _begin(model: GPT2LMHeadModel) -> None:
    """Let words be far enough apart to be told from their copies, and neighbouring positions be alike: sinusoids.

    What stood just before, and what was said already, is found sooner than from GPT-2's small random numbers.
    """
    words, positions = model.transformer.wte.weight, model.transformer.wpe.weight
    words.mul_(SCALE / model.config.initializer_range)
    frequency = LONGEST ** -torch.linspace(0, 1, positions.shape[1] // 2)
    angle = torch.arange(len(positions))[:, None] * frequency
    positions.copy_(SCALE * torch.cat([angle.sin(), angle.cos()], dim=1))


def _matrices(model: GPT2LMHeadModel) -> list[torch.Tensor]:
    """Those of the blocks, for Muon, but not the ones that hold queries, keys and values together.

    Muon would make their steps of one size in common, and at first values have far larger gradients, so that queries
    and keys would hardly move: they go to AdamW.
    """
    return [p for name, p in model.transformer.h.named_parameters() if p.ndim == 2 and "c_attn" not in name]
