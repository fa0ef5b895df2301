"""Train the circuits model from scratch by next-token prediction.

Every optimiser step sees some rows of each kind of the corpus.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from jobs.circuit_model.corpus import KINDS, Corpus, Rows
from jobs.circuit_model.vocabulary import BOS, build_tokenizer, tokens

TRAINING = "training.json"
"""File beside the weights that says how they came to be: configuration and cost."""

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

    @property
    def steps(self) -> int:
        """Optimiser steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def shortened(self, steps: int) -> CircuitModelConfig:
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
    """Of the answers of each kind of row, in nats."""
    tokens_per_second: float
    cpu_seconds: float


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
    out.mkdir(parents=True, exist_ok=True)
    build_tokenizer().save_pretrained(out)
    # transformers initialises from the global generator: lend it one, and put everything back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = GPT2LMHeadModel(gpt2_config(config))
    _begin(model)
    started, cpu_started, seen = time.perf_counter(), time.process_time(), 0
    nll: list[dict[str, float]] = []
    model.train()
    optimisers = _optimisers(model, config)
    for step, batch in enumerate(_batches(config), start=1):
        nll.append(_learn(model, batch, config.bf16))
        rising, falling = step / config.warm_up, (config.steps - step + 1) / (config.decay * config.steps)
        for optimiser, rate in zip(optimisers, (config.muon_rate, config.adamw_rate), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * min(rising, 1.0, falling)
            optimiser.step()
            optimiser.zero_grad()
        seen += sum(rows.ids.size for rows in batch.values())
        if on_progress and (step % every == 0 or step == config.steps):
            mean = {kind: float(np.mean([one[kind] for one in nll if kind in one])) for kind in batch}
            elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu_started
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


def _optimisers(model: GPT2LMHeadModel, config: CircuitModelConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks and AdamW for the rest.

    GPT-2 keeps queries, keys and values in one matrix. Muon would make them steps of one size in common, and at first
    values have far larger gradients, so that queries and keys would hardly move: it goes to AdamW.
    """
    matrices = [p for name, p in model.transformer.h.named_parameters() if p.ndim == 2 and "c_attn" not in name]
    others = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    return [
        torch.optim.Muon(
            matrices, lr=config.muon_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=config.adamw_rate, weight_decay=0.0, betas=(0.9, 0.98), fused=True),
    ]


def _learn(model: GPT2LMHeadModel, batch: Mapping[str, Rows], bf16: bool) -> dict[str, float]:
    """Gradients of the weighted next-token loss, clipped; returns what :class:`Progress` says of each kind."""
    nll = {}
    for kind, rows in batch.items():
        ids, weights = torch.from_numpy(rows.ids), torch.from_numpy(rows.weights)[:, 1:]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = model(ids[:, :-1], use_cache=False).logits
        each = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none").view_as(weights)
        ((each * weights).sum() / weights.sum()).backward()  # type: ignore[no-untyped-call]
        nll[kind] = each.detach()[weights == 1].mean().item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    return nll
