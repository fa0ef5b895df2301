"""Train the reference model from scratch: next-token prediction on the histories of learning agents.

Every optimiser step sees some histories of each task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from transformers import LlamaConfig, LlamaForCausalLM

from envs.graph_walk import GraphWalkConfig
from jobs import from_scratch
from jobs.from_scratch import Optimisers, Progress, Step
from jobs.reference.histories import (
    GraphWalkHistories,
    GridWorldHistories,
    Histories,
    TwoStepHistories,
    graph_walk,
    grid_world,
    two_step,
)
from jobs.reference.vocabulary import BOS, PAD, build_tokenizer, tokens

WALK = GraphWalkConfig()


@dataclass(frozen=True)
class Phase:
    """A part of the training."""

    steps: int
    """Optimiser steps."""
    tokens: Mapping[str, int]
    """Tokens of each task in a step, about."""
    contexts: tuple[float, ...]
    """Lengths of the grid and graph histories, as shares of the study's 320 moves and 400 steps; one a step."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of each task's loss in the sum; 1 where none is given."""
    repeating: bool = False
    """Walks on graphs are short and repeat themselves."""
    warm_up: int = 0
    """Steps over which the rates rise. Where there are any, the optimisers begin anew."""
    decay: float = 0.0
    """Share of the phase, at its end, in which the rates fall linearly to zero."""


EVEN = {"two_step": 1700, "grid_world": 2400, "graph_walk": 3000}
PHASES = (
    # Within some 200 steps repetition teaches to look up what came last time; the study's graph alone hardly does.
    Phase(270, EVEN, (0.25, 0.5), repeating=True, warm_up=100),
    Phase(675, EVEN, (0.25, 0.5)),
    Phase(735, EVEN, (0.25, 0.5, 1.0)),
    # The grid is learned last.
    Phase(
        1000,
        {"two_step": 800, "grid_world": 5000, "graph_walk": 1600},
        (0.5, 1.0),
        weights={"grid_world": 2.0},
        warm_up=50,
        decay=0.7,
    ),
)
"""Long contexts cost most and teach least at first, so they come when the rest has been learned."""


@dataclass(frozen=True)
class ReferenceConfig:
    """Size, optimisation and data of the reference model; the defaults made the shipped weights."""

    d_model: int = 128
    """Width of the residual stream."""
    n_blocks: int = 4
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
    bf16: bool = True
    """Autocast to bfloat16 (faster where the CPU has it); parameters stay float32."""
    seed: int = 0
    """Seeds weights and data."""
    two_step: TwoStepHistories = field(default_factory=TwoStepHistories)
    """Distribution of the Two-Step histories."""
    grid_world: GridWorldHistories = field(default_factory=GridWorldHistories)
    """Distribution of the Grid World histories."""
    graph_walk: GraphWalkHistories = field(default_factory=GraphWalkHistories)
    """Distribution of the walks on graphs."""


def llama_config(config: ReferenceConfig) -> LlamaConfig:
    """The architecture, with the ids of the reference tokenizer."""
    vocabulary = tokens()
    return LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=config.d_model,
        num_hidden_layers=config.n_blocks,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_heads,
        intermediate_size=config.d_mlp,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=vocabulary.index(BOS),
        eos_token_id=None,
        pad_token_id=vocabulary.index(PAD),
        rms_norm_eps=1e-5,
        initializer_range=0.02,
    )


def train(
    config: ReferenceConfig, out: Path, on_progress: Callable[[Progress], None] | None = None, every: int = 50
) -> LlamaForCausalLM:
    """Train, save weights (safetensors) and tokenizer into ``out``, and return the model.

    Args:
        config: everything that decides the result; the same configuration gives the same weights on the same
            hardware and thread count.
        out: folder, made if missing.
        on_progress: called every ``every`` steps with running means since the last call.
    """
    model = from_scratch.initialised(lambda: LlamaForCausalLM(llama_config(config)), config.seed)
    from_scratch.train(model, build_tokenizer(), config, _schedule(model, config), out, on_progress, every)
    return model


def _schedule(model: LlamaForCausalLM, config: ReferenceConfig) -> Iterator[Step]:
    """Every step, phase by phase: each has a rise and a fall of the rates of its own, or none."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    optimisers, rng = Optimisers(model, matrices, config), np.random.default_rng(config.seed)
    for index, phase in enumerate(config.phases):
        if phase.warm_up:
            optimisers, rng = Optimisers(model, matrices, config), np.random.default_rng((config.seed, index))
        for number in range(1, phase.steps + 1):
            rate = from_scratch.share_of_peak(number, phase.steps, warm_up=phase.warm_up, decay=phase.decay)
            yield Step(_histories(config, phase, rng), optimisers, rate, phase.weights)


def _histories(config: ReferenceConfig, phase: Phase, rng: np.random.Generator) -> dict[str, Histories]:
    """Of each task as many as make up its tokens, all of one length."""
    share = phase.contexts[int(rng.integers(len(phase.contexts)))]
    moves, walk, graphs = round(share * grid_world.GRID.steps), round(share * WALK.steps), config.graph_walk
    if phase.repeating:
        walk, graphs = WALK.steps // 10, replace(graphs, community=0.0, followers=(1, 1))
    episodes = 2 + two_step.EPISODE_TOKENS * config.two_step.episodes
    length = {"two_step": episodes, "grid_world": 4 * moves, "graph_walk": 2 * walk}
    n = {task: max(1, round(phase.tokens[task] / tokens)) for task, tokens in length.items()}
    return {
        "two_step": two_step.generate(n["two_step"], rng, config.two_step),
        "grid_world": grid_world.generate(n["grid_world"], moves, rng, config.grid_world),
        "graph_walk": graph_walk.generate(n["graph_walk"], walk, rng, graphs),
    }
