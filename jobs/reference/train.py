"""Train the reference model from scratch: next-token prediction on the histories of learning agents."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from jobs.reference.histories import HistoryConfig, generate
from jobs.reference.vocabulary import BOS, PAD, build_tokenizer, tokens

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
    steps: int = 4000
    """Optimiser steps."""
    batch: int = 24
    """Histories a step (212 tokens each)."""
    learning_rate: float = 3e-3
    """AdamW's peak rate: 100 steps of warm-up, linear decay to zero over the last 35 %."""
    weight_decay: float = 0.01
    """AdamW's decay of matrices."""
    bf16: bool = True
    """Autocast to bfloat16 (faster where the CPU has it); parameters stay float32."""
    seed: int = 0
    """Seeds weights and data."""
    histories: HistoryConfig = field(default_factory=HistoryConfig)
    """Distribution of the training histories."""


@dataclass(frozen=True)
class Progress:
    """What a training run says of itself at each report."""

    step: int
    steps: int
    loss: float
    choice_nll: float
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
    rng = np.random.default_rng(config.seed)
    # transformers initialises from the global generator: lend it one, and put everything back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = LlamaForCausalLM(llama_config(config))
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((step + 1) / 100, 1.0, (config.steps - step) / (0.35 * config.steps)),
    )
    started, cpu_started, seen = time.perf_counter(), time.process_time(), 0
    losses: list[tuple[float, float]] = []
    model.train()
    for step in range(1, config.steps + 1):
        histories = generate(config.batch, rng, config.histories)
        ids, weights = torch.from_numpy(histories.ids), torch.from_numpy(histories.weights)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.bf16):
            logits = model(ids[:, :-1], use_cache=False).logits
        nll = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
        target_weights = weights[:, 1:].flatten()
        loss = (nll * target_weights).sum() / target_weights.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        seen += ids.numel()
        choices = target_weights == weights.max()
        losses.append((loss.item(), nll.detach()[choices].mean().item()))
        if on_progress and (step % every == 0 or step == config.steps):
            mean = np.mean(losses, axis=0)
            elapsed = time.perf_counter() - started
            cpu = time.process_time() - cpu_started
            on_progress(Progress(step, config.steps, float(mean[0]), float(mean[1]), seen / elapsed, cpu))
            losses.clear()
    model.eval()
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out, safe_serialization=True)
    build_tokenizer().save_pretrained(out)
    cost = {
        "tokens": seen,
        "seconds": round(time.perf_counter() - started),
        "cpu_seconds": round(time.process_time() - cpu_started),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    (out / TRAINING).write_text(json.dumps({"config": asdict(config), "cost": cost}, indent=2) + "\n")
    return model
