"""Train the reference model from scratch: next-token prediction on the histories of learning agents.

Every optimiser step sees some histories of each task.
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

    @property
    def steps(self) -> int:
        """Optimiser steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def shortened(self, steps: int) -> ReferenceConfig:
        """The same training with so many steps in all, of which each phase takes its share."""
        ends = np.cumsum([phase.steps for phase in self.phases])
        shares = np.diff(np.round(ends * steps / ends[-1]).astype(int), prepend=0)
        phases = (replace(phase, steps=int(n)) for phase, n in zip(self.phases, shares, strict=True))
        return replace(self, phases=tuple(phases))


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
    # transformers initialises from the global generator: lend it one, and put everything back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = LlamaForCausalLM(llama_config(config))
    started, cpu_started, seen = time.perf_counter(), time.process_time(), 0
    nll: list[dict[str, float]] = []
    model.train()
    for step, (optimisers, phase, histories) in enumerate(_schedule(model, config), start=1):
        nll.append(_learn(model, histories, phase.weights, config.bf16))
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        seen += sum(of_task.ids.size for of_task in histories.values())
        if on_progress and (step % every == 0 or step == config.steps):
            mean = {task: float(np.mean([one[task] for one in nll])) for task in histories}
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


def _schedule(
    model: LlamaForCausalLM, config: ReferenceConfig
) -> Iterator[tuple[list[torch.optim.Optimizer], Phase, dict[str, Histories]]]:
    """For every step the optimisers, their rates set, its phase, and histories of each task."""
    rng = np.random.default_rng(config.seed)
    optimisers: list[torch.optim.Optimizer] = []
    for index, phase in enumerate(config.phases):
        if phase.warm_up:
            optimisers = _optimisers(model, config)
            rng = np.random.default_rng((config.seed, index))
        for step in range(phase.steps):
            rising = (step + 1) / phase.warm_up if phase.warm_up else 1.0
            falling = (phase.steps - step) / (phase.decay * phase.steps) if phase.decay else 1.0
            for optimiser, rate in zip(optimisers, (config.muon_rate, config.adamw_rate), strict=True):
                for group in optimiser.param_groups:
                    group["lr"] = rate * min(rising, 1.0, falling)
            yield optimisers, phase, _histories(config, phase, rng)


def _optimisers(model: LlamaForCausalLM, config: ReferenceConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks and AdamW for the rest."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    return [
        torch.optim.Muon(
            matrices, lr=config.muon_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=config.adamw_rate, weight_decay=0.0, betas=(0.9, 0.98), fused=True),
    ]


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


def _learn(
    model: LlamaForCausalLM, histories: Mapping[str, Histories], loss_weights: Mapping[str, float], bf16: bool
) -> dict[str, float]:
    """Gradients of the weighted next-token loss, clipped; returns what :class:`Progress` says of each task."""
    nll = {}
    for task, of_task in histories.items():
        ids, weights = torch.from_numpy(of_task.ids), torch.from_numpy(of_task.weights)[:, 1:]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = model(ids[:, :-1], use_cache=False).logits
        each = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
        each = each.view_as(weights)
        loss = loss_weights.get(task, 1.0) * (each * weights).sum() / weights.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        nll[task] = each.detach()[weights == weights.max()].mean().item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    return nll
