"""Training a small language model from scratch, by next-token prediction: what the shipped ones have in common.

A training goes through phases, and every optimiser step sees some rows of each kind of its data. What the phases and
the data are is each model's own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerFast

TRAINING = "training.json"
"""File beside the weights that says how they came to be: configuration and cost."""


class Phase(Protocol):
    """A part of a training; a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def steps(self) -> int:
        """Optimiser steps."""


class Config(Protocol):
    """What the configuration of every such training says; a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The training, part by part."""

    @property
    def muon_rate(self) -> float:
        """Peak rate of Muon, scaled to AdamW's root mean square."""

    @property
    def adamw_rate(self) -> float:
        """Peak rate of AdamW."""

    @property
    def weight_decay(self) -> float:
        """Of the matrices that Muon trains."""

    @property
    def bf16(self) -> bool:
        """Autocast to bfloat16; parameters stay float32."""


C = TypeVar("C", bound=Config)
M = TypeVar("M", bound=torch.nn.Module)


class Rows(Protocol):
    """N rows, padded on the right."""

    @property
    def ids(self) -> NDArray[np.int64]:
        """Token ids [N, L], BOS first."""

    @property
    def weights(self) -> NDArray[np.float32]:
        """Weight of each token as a target of the loss [N, L]."""


class Optimisers:
    """Muon for some matrices of a model, and AdamW for all its other parameters.

    Args:
        model: is trained.
        matrices: those of its parameters that Muon takes.
        config: peak rates, and the matrices' weight decay.
        muon: makes Muon, as :class:`torch.optim.Muon` is made.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        matrices: Sequence[Tensor],
        config: Config,
        muon: Callable[..., torch.optim.Optimizer] = torch.optim.Muon,
    ) -> None:
        others = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
        first = muon(matrices, lr=config.muon_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw")
        adamw = torch.optim.AdamW(others, lr=config.adamw_rate, weight_decay=0.0, betas=(0.9, 0.98), fused=True)
        self._peaks: dict[torch.optim.Optimizer, float] = {first: config.muon_rate, adamw: config.adamw_rate}

    def step(self, rate: float) -> None:
        """Follow the gradients, at this share of the peak rates, and forget them."""
        for optimiser, peak in self._peaks.items():
            for group in optimiser.param_groups:
                group["lr"] = peak * rate
            optimiser.step()
            optimiser.zero_grad()


@dataclass(frozen=True)
class Step:
    """One optimiser step."""

    rows: Mapping[str, Rows]
    """What it learns from, by kind."""
    optimisers: Optimisers
    rate: float
    """Share of the peak rates."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of each kind's loss in the sum; 1 where none is given."""


@dataclass(frozen=True)
class Progress:
    """What a training run says of itself at each report."""

    step: int
    steps: int
    nll: dict[str, float]
    """Of the targets with the highest weight, by kind of row, in nats."""
    tokens_per_second: float
    cpu_seconds: float


def n_steps(config: Config) -> int:
    """Optimiser steps of all phases."""
    return sum(phase.steps for phase in config.phases)


def shortened(config: C, steps: int) -> C:
    """The same training with so many steps in all, of which each phase takes its share."""
    ends = np.cumsum([phase.steps for phase in config.phases])
    shares = np.diff(np.round(ends * steps / ends[-1]).astype(int), prepend=0)
    phases = (replace(phase, steps=int(n)) for phase, n in zip(config.phases, shares, strict=True))
    return replace(config, phases=tuple(phases))


def share_of_peak(step: int, steps: int, *, warm_up: int, decay: float) -> float:
    """What the rates are at a step, counted from 1, as a share of their peaks.

    Args:
        step: which.
        steps: in all.
        warm_up: steps over which the rates rise.
        decay: share of the steps, at the end, in which the rates fall linearly to zero.
    """
    rising = step / warm_up if warm_up else 1.0
    falling = (steps - step + 1) / (decay * steps) if decay else 1.0
    return min(rising, 1.0, falling)


def initialised(make: Callable[[], M], seed: int) -> M:
    """A model with random weights, drawn from this seed."""
    # transformers initialises from the global generator: lend it one, and put everything back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    config: Config,
    schedule: Iterable[Step],
    out: Path,
    on_progress: Callable[[Progress], None] | None = None,
    every: int = 50,
) -> None:
    """Train a model, and save its weights (safetensors), tokenizer and :data:`TRAINING`.

    Args:
        model: with the weights to begin with; in evaluation mode afterwards.
        tokenizer: saved beside it.
        config: what :data:`TRAINING` tells.
        schedule: the steps of all phases.
        out: folder, made if missing.
        on_progress: called every ``every`` steps, and after the last, with running means since the last call.
        every: steps; the weights are saved as often, if ``on_progress`` is given.
    """
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(out)
    started, cpu_started, seen, steps = time.perf_counter(), time.process_time(), 0, n_steps(config)
    nll: list[dict[str, float]] = []
    model.train()
    for number, step in enumerate(schedule, start=1):
        nll.append(_learn(model, step, config.bf16))
        step.optimisers.step(step.rate)
        seen += sum(rows.ids.size for rows in step.rows.values())
        if on_progress and (number % every == 0 or number == steps):
            mean = {kind: float(np.mean([one[kind] for one in nll if kind in one])) for kind in step.rows}
            elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu_started
            on_progress(Progress(number, steps, mean, seen / elapsed, cpu))
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


def _learn(model: PreTrainedModel, step: Step, bf16: bool) -> dict[str, float]:
    """Gradients of the weighted next-token loss, clipped; returns what :class:`Progress` says of each kind."""
    nll = {}
    for kind, rows in step.rows.items():
        ids, weights = torch.from_numpy(rows.ids), torch.from_numpy(rows.weights)[:, 1:]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = model(ids[:, :-1], use_cache=False).logits
        each = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none").view_as(weights)
        loss = step.weights.get(kind, 1.0) * (each * weights).sum() / weights.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        nll[kind] = each.detach()[weights == weights.max()].mean().item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    return nll
