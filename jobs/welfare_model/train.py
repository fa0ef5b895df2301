"""Train the welfare model from scratch by next-token prediction.

Every optimiser step sees some texts of each kind of the corpus, and some histories of the Two-Step task, so that values
and prediction errors can be looked for in the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from jobs import from_scratch
from jobs.from_scratch import Optimisers, Progress, Step
from jobs.welfare_model.corpus import KINDS
from jobs.welfare_model.corpus.moves import draw as draw_moves
from jobs.welfare_model.muon import Muon
from jobs.welfare_model.rows import Encoder, Rows
from jobs.welfare_model.vocabulary import BOS, END, PAD, build_tokenizer, tokens

SCALE = 0.1
"""Standard deviation with which embeddings begin: words are far enough apart to be told from their copies."""
LOOK_BACK = (1, 2, 3)
"""Heads of the first block begin by looking so many tokens back: looking up what stood beside something is learned in
a fraction of the time that it takes where heads must find such neighbours by themselves."""
SHARPNESS, FREQUENCIES = 5.0, 6
"""Of those heads' biases, and how many of the fastest rotations take part."""
ROPE = 1e6
"""Base of the rotations: half of each head tells words apart at any distance, the other half tells distances."""
LIKENESS, COPYING = 0.09, 0.07
"""Standard deviations of queries, and of values."""
TWO_STEP, MOVES = "two_step", "moves"


@dataclass(frozen=True)
class Phase:
    """A part of the training."""

    steps: int
    """Optimiser steps."""
    tokens: Mapping[str, int]
    """Tokens of each kind in a step, about."""
    turns: tuple[int, int] = (1, 3)
    """Fewest and most turns in the maze."""
    short: bool = False
    """Whether the maze's texts are cut short."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of each kind's loss in the sum; 1 where none is given."""


FEW = {"feelings": 150, "stories": 150, "problems": 200, "requests": 100, "reviews": 60, "neutral": 30}
MANY = {"feelings": 250, "stories": 200, "problems": 300, "requests": 120, "reviews": 60, "neutral": 40}
TALK = {"questions": 500, "sessions": 500, TWO_STEP: 430}
PHASES = (
    # To look up is learned first, from the densest texts; then to tell apart by a wish; then to move by it.
    Phase(110, {"lists": 1500}),
    Phase(250, {**FEW, "lists": 300, "look": 300, "marks": 1500, "questions": 300, TWO_STEP: 430}),
    Phase(
        250,
        {**FEW, "lists": 100, "look": 200, "marks": 500, MOVES: 1200, "questions": 300, TWO_STEP: 430},
        (1, 2),
        short=True,
    ),
    Phase(550, {**MANY, **TALK, "look": 100, "marks": 200, MOVES: 1500}, (1, 4)),
    Phase(150, {**MANY, **TALK, MOVES: 1500}, (4, 15)),
)
"""Long conversations cost most and teach least at first, so they come when the rest has been learned."""


@dataclass(frozen=True)
class WelfareModelConfig:
    """Size, optimisation and data of the welfare model; the defaults made the shipped weights."""

    d_model: int = 128
    """Width of the residual stream."""
    n_blocks: int = 5
    """Decoder blocks."""
    n_heads: int = 4
    """Attention heads a block."""
    d_mlp: int = 384
    """Width of the gated MLP."""
    phases: tuple[Phase, ...] = PHASES
    """The training, part by part."""
    muon_rate: float = 5e-3
    """Peak rate of Muon, which trains the blocks' matrices; scaled to AdamW's root mean square."""
    adamw_rate: float = 3e-3
    """Peak rate of AdamW, which trains embeddings and norms."""
    weight_decay: float = 0.01
    """Of the blocks' matrices."""
    warm_up: int = 50
    """Steps over which the rates rise."""
    decay: float = 0.4
    """Share of the steps, at the end, in which the rates fall linearly to zero."""
    bf16: bool = False
    """Autocast to bfloat16 (faster where the CPU has it); parameters stay float32."""
    seed: int = 0
    """Seeds weights and data."""


def llama_config(config: WelfareModelConfig) -> LlamaConfig:
    """The architecture, with the ids of the model's tokenizer."""
    vocabulary = tokens()
    return LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=config.d_model,
        num_hidden_layers=config.n_blocks,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_heads,
        intermediate_size=config.d_mlp,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE},
        attention_bias=True,
        tie_word_embeddings=True,
        bos_token_id=vocabulary.index(BOS),
        eos_token_id=vocabulary.index(END),
        pad_token_id=vocabulary.index(PAD),
        rms_norm_eps=1e-5,
        initializer_range=0.02,
    )


def train(
    config: WelfareModelConfig, out: Path, on_progress: Callable[[Progress], None] | None = None, every: int = 50
) -> LlamaForCausalLM:
    """Train, save weights (safetensors) and tokenizer into ``out``, and return the model.

    Args:
        config: everything that decides the result; the same configuration gives the same weights on the same
            hardware and thread count.
        out: folder, made if missing.
        on_progress: called every ``every`` steps with running means since the last call.
    """
    model = from_scratch.initialised(lambda: LlamaForCausalLM(llama_config(config)), config.seed)
    begin(model)
    from_scratch.train(model, build_tokenizer(), config, _schedule(model, config), out, on_progress, every)
    return model


@torch.no_grad()
def begin(model: LlamaForCausalLM) -> None:
    """Embeddings of some size, heads that look back in the first block, and later ones that look for their like.

    The latter are those of mimetic initialisation (Trockman & Kolter 2023): keys begin as queries do, and what is
    written as what is read.
    """
    model.model.embed_tokens.weight.mul_(SCALE / model.config.initializer_range)
    for index, block in enumerate(model.model.layers):
        if index:
            block.self_attn.q_proj.weight.mul_(LIKENESS / model.config.initializer_range)
            block.self_attn.k_proj.weight.copy_(block.self_attn.q_proj.weight)
        block.self_attn.v_proj.weight.mul_(COPYING / model.config.initializer_range)
        block.self_attn.o_proj.weight.copy_(block.self_attn.v_proj.weight.T)
    attention, heads = model.model.layers[0].self_attn, model.config.num_attention_heads
    # a query turned back by so many positions fits best the key that stands so many before it
    angles = model.model.rotary_emb.inv_freq[:FREQUENCIES]
    queries, keys = (layer.bias.view(heads, 2, -1) for layer in (attention.q_proj, attention.k_proj))
    for head, back in enumerate(LOOK_BACK[:heads]):
        keys[head, 0, :FREQUENCIES] = SHARPNESS
        queries[head, 0, :FREQUENCIES] = SHARPNESS * (back * angles).cos()
        queries[head, 1, :FREQUENCIES] = -SHARPNESS * (back * angles).sin()


def _schedule(model: LlamaForCausalLM, config: WelfareModelConfig) -> Iterator[Step]:
    """Every step: one rise and one fall of the rates, whatever the phase."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    optimisers, steps, number = Optimisers(model, matrices, config, Muon), from_scratch.n_steps(config), 0
    for index, phase in enumerate(config.phases):
        kinds = _kinds(phase, np.random.default_rng((config.seed, index)))
        for _ in range(phase.steps):
            number += 1
            rate = from_scratch.share_of_peak(number, steps, warm_up=config.warm_up, decay=config.decay)
            yield Step({kind: next(rows) for kind, rows in kinds.items()}, optimisers, rate, phase.weights)


def _kinds(phase: Phase, rng: np.random.Generator) -> dict[str, Iterator[Rows]]:
    """Rows of each kind, each with a generator of its own."""
    encoder, streams = Encoder(), dict(zip(phase.tokens, rng.spawn(len(phase.tokens)), strict=True))
    draws = {kind: module.draw for kind, module in KINDS.items()}
    draws[MOVES] = partial(draw_moves, turns=phase.turns, short=phase.short)
    return {
        kind: encoder.two_step(budget, streams[kind])
        if kind == TWO_STEP
        else encoder.batches(draws[kind], budget, streams[kind])
        for kind, budget in phase.tokens.items()
    }
