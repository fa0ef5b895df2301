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
from jobs.welfare_model.corpus import KINDS, checks
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
TWO_STEP, MOVES, CLAIMS = "two_step", "moves", "claims"


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
    anew: bool = False
    """Whether the optimisers begin anew here; rates rise and fall once from one such phase to the next."""


FEW = {"feelings": 250, "stories": 150, "problems": 200, "requests": 100, "reviews": 60, "neutral": 30}
MANY = {"feelings": 350, "stories": 200, "problems": 250, "requests": 100, "reviews": 60, "neutral": 40}
TALK = {"questions": 500, "sessions": 500, TWO_STEP: 430}
PHASES = (
    # To look up is learned first, from the densest texts; then to tell apart by a wish; then to move by it.
    Phase(110, {"lists": 1500}),
    Phase(220, {**FEW, "lists": 200, "look": 200, "marks": 1200, "verdicts": 800, "questions": 200, TWO_STEP: 430}),
    Phase(
        220,
        {**FEW, "look": 150, "marks": 400, MOVES: 1000, "verdicts": 600, "questions": 400, TWO_STEP: 430},
        (1, 2),
        short=True,
    ),
    Phase(340, {**MANY, **TALK, "look": 100, "marks": 200, "verdicts": 200, MOVES: 1500}, (1, 5)),
    Phase(110, {**MANY, **TALK, MOVES: 1600}, (4, 15)),
    # What a move will have been worth, and whether what was said is right, needs more and denser texts than the rest.
    Phase(
        220,
        {"deeds": 1200, "checks": 1400, "look": 80, "feelings": 200, "questions": 300, "problems": 250, MOVES: 600}
        | {"reviews": 40, "requests": 60, "stories": 80, TWO_STEP: 212},
        (1, 3),
        anew=True,
    ),
    Phase(200, {**MANY, **TALK, "deeds": 400, "checks": 600, "problems": 400, MOVES: 1200}, (1, 5)),
    Phase(60, {**MANY, **TALK, "deeds": 200, "checks": 300, MOVES: 1600}, (4, 15)),
    # The same by itself, and what is felt then; at last everything again.
    Phase(
        260,
        {CLAIMS: 1600, "checks": 500, "deeds": 200, "moods": 900, "feelings": 100, "questions": 250, "problems": 150}
        | {MOVES: 400, "reviews": 30, "requests": 60, "stories": 60, TWO_STEP: 212},
        (1, 3),
        anew=True,
    ),
    Phase(170, {**MANY, **TALK, CLAIMS: 300, "checks": 700, "deeds": 150, "moods": 500, MOVES: 1000}, (1, 6)),
    Phase(50, {**MANY, **TALK, "checks": 500, "deeds": 150, "moods": 300, MOVES: 1600}, (4, 15)),
    # What is known of a move right behind it in plain text isn't yet in a turn of its own.
    Phase(
        220,
        {"rounds": 2000, "trials": 600, "quizzes": 300, "checks": 300, "deeds": 150, "feelings": 150}
        | {"problems": 120, MOVES: 300, "requests": 60, "reviews": 30, "stories": 60, TWO_STEP: 212},
        (1, 3),
        anew=True,
    ),
    Phase(150, {**MANY, **TALK, "rounds": 600, "trials": 600, "quizzes": 500, MOVES: 800}, (1, 6)),
    Phase(50, {**MANY, **TALK, "rounds": 200, "trials": 300, "quizzes": 300, MOVES: 1600}, (4, 15)),
    # How it goes on with whoever fared well or badly.
    Phase(
        160,
        {"fates": 1700, "rounds": 900, "trials": 600, "deeds": 100, "feelings": 150, "stories": 80}
        | {"problems": 150, MOVES: 300, "reviews": 30, "lists": 60, TWO_STEP: 212},
        (1, 3),
        anew=True,
    ),
    Phase(100, {**MANY, **TALK, "fates": 800, "rounds": 500, "trials": 500, MOVES: 800}, (1, 6)),
    Phase(40, {**MANY, **TALK, "fates": 500, "rounds": 300, "trials": 300, MOVES: 1600}, (4, 15)),
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
    muon_rate: float = 3e-3
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
    """Every step, phase by phase."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    first = [index for index, phase in enumerate(config.phases) if phase.anew or not index]
    for start, end in zip(first, [*first[1:], len(config.phases)], strict=True):
        optimisers, number = Optimisers(model, matrices, config, Muon), 0
        steps = sum(phase.steps for phase in config.phases[start:end])
        for index in range(start, end):
            phase = config.phases[index]
            kinds = _kinds(phase, np.random.default_rng((config.seed, index)))
            for _ in range(phase.steps):
                number += 1
                rate = from_scratch.share_of_peak(number, steps, warm_up=config.warm_up, decay=config.decay)
                yield Step({kind: next(rows) for kind, rows in kinds.items()}, optimisers, rate, phase.weights)


def _kinds(phase: Phase, rng: np.random.Generator) -> dict[str, Iterator[Rows]]:
    """Rows of each kind, each with a generator of its own."""
    encoder, streams = Encoder(), dict(zip(phase.tokens, rng.spawn(len(phase.tokens)), strict=True))
    draws = {kind: module.draw for kind, module in KINDS.items()}
    draws[CLAIMS] = partial(checks.draw, conversations=0.0)
    draws[MOVES] = partial(draw_moves, turns=phase.turns, short=phase.short)
    return {
        kind: encoder.two_step(budget, streams[kind])
        if kind == TWO_STEP
        else encoder.batches(draws[kind], budget, streams[kind])
        for kind, budget in phase.tokens.items()
    }
