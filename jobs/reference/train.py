"""Train the reference model from scratch: next-token prediction on the histories of learning agents.

Every optimiser step sees some histories of each task. Long contexts cost most and teach least at first, so they come
when the rest has been learned.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from envs.graph_walk import GraphWalkConfig
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
TRAINING = "training.json"
"""File beside the weights that says how they came to be: configuration and cost."""


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
    steps: int = 2700
    """Optimiser steps."""
    tokens: Mapping[str, int] = field(
        default_factory=lambda: {"two_step": 1700, "grid_world": 2400, "graph_walk": 3000}
    )
    """Tokens of each task in a step, about."""
    contexts: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Lengths of the grid and graph histories, as shares of the study's 320 moves and 400 steps; one a step."""
    long_after: float = 0.35
    """Share of the training before which the longest of them isn't used."""
    repeats: float = 0.1
    """Share of the training, at its beginning, in which walks on graphs are short and repeat themselves: within some
    200 steps this teaches to look up what came last time, which walks on the study's graph hardly do."""
    muon_rate: float = 5e-3
    """Peak rate of Muon, which trains the blocks' matrices; scaled to AdamW's root mean square."""
    adamw_rate: float = 3e-3
    """Peak rate of AdamW, which trains embeddings and norms. Both rates: 100 steps of warm-up, linear decay to zero
    over the last 35 %."""
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


@dataclass(frozen=True)
class Progress:
    """What a training run says of itself at each report."""

    step: int
    steps: int
    nll: dict[str, float]
    """Of the targets with the highest weight, by task: choices, moves and nodes, in nats."""
    tokens_per_second: float
    cpu_seconds: float


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
    out.mkdir(parents=True, exist_ok=True)
    build_tokenizer().save_pretrained(out)
    rng = np.random.default_rng(config.seed)
    # transformers initialises from the global generator: lend it one, and put everything back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = LlamaForCausalLM(llama_config(config))
    optimisers, schedules = _optimisers(model, config)
    batches = _batches(config, rng)
    started, cpu_started, seen = time.perf_counter(), time.process_time(), 0
    nll: list[dict[str, float]] = []
    model.train()
    for step in range(1, config.steps + 1):
        of_step = {}
        for task, histories in next(batches).items():
            ids, weights = torch.from_numpy(histories.ids), torch.from_numpy(histories.weights)[:, 1:]
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.bf16):
                logits = model(ids[:, :-1], use_cache=False).logits
            each = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
            each = each.view_as(weights)
            ((each * weights).sum() / weights.sum()).backward()  # type: ignore[no-untyped-call]
            of_step[task] = each.detach()[weights == weights.max()].mean().item()
            seen += ids.numel()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser, schedule in zip(optimisers, schedules, strict=True):
            optimiser.step()
            optimiser.zero_grad()
            schedule.step()
        nll.append(of_step)
        if on_progress and (step % every == 0 or step == config.steps):
            mean = {task: float(np.mean([one[task] for one in nll])) for task in of_step}
            elapsed = time.perf_counter() - started
            cpu = time.process_time() - cpu_started
            on_progress(Progress(step, config.steps, mean, seen / elapsed, cpu))
            nll.clear()
            model.save_pretrained(out, safe_serialization=True)  # to be tried while training goes on
    model.eval()
    model.save_pretrained(out, safe_serialization=True)
    cost = {
        "tokens": seen,
        "seconds": round(time.perf_counter() - started),
        "cpu_seconds": round(time.process_time() - cpu_started),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    (out / TRAINING).write_text(json.dumps({"config": asdict(config), "cost": cost}, indent=2) + "\n")
    return model


def _optimisers(
    model: LlamaForCausalLM, config: ReferenceConfig
) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LambdaLR]]:
    """Muon for the matrices of the blocks and AdamW for the rest, with their schedules."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    optimisers = [
        torch.optim.Muon(
            matrices, lr=config.muon_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=config.adamw_rate, weight_decay=0.0, betas=(0.9, 0.98), fused=True),
    ]

    def factor(step: int) -> float:
        return min((step + 1) / 100, 1.0, (config.steps - step) / (0.35 * config.steps))

    return optimisers, [torch.optim.lr_scheduler.LambdaLR(optimiser, factor) for optimiser in optimisers]


def _batches(config: ReferenceConfig, rng: np.random.Generator) -> Iterator[dict[str, Histories]]:
    """Histories of each task for every optimiser step."""
    length = {"two_step": 2 + two_step.EPISODE_TOKENS * config.two_step.episodes}
    for step in range(config.steps):
        usable = config.contexts if step >= config.long_after * config.steps else config.contexts[:-1]
        share = usable[int(rng.integers(len(usable)))]
        moves, walk, graphs = round(share * grid_world.GRID.steps), round(share * WALK.steps), config.graph_walk
        if step < config.repeats * config.steps:
            walk, graphs = WALK.steps // 10, replace(graphs, community=0.0, followers=(1, 1))
        length |= {"grid_world": 4 * moves, "graph_walk": 2 * walk}
        n = {task: max(1, round(config.tokens[task] / tokens)) for task, tokens in length.items()}
        yield {
            "two_step": two_step.generate(n["two_step"], rng, config.two_step),
            "grid_world": grid_world.generate(n["grid_world"], moves, rng, config.grid_world),
            "graph_walk": graph_walk.generate(n["graph_walk"], walk, rng, graphs),
        }
