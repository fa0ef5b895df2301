"""Training an autoencoder on activations that fit in memory, in one process or several."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sae.architectures import build
from sae.autoencoder import Autoencoder, LossTerms
from sae.config import SAEConfig
from sae.replicas import ALONE, Batch, Replicas
from sae.resampling import resample_dead, resampling_steps


@dataclass(frozen=True)
class TrainingConfig:
    """How to train; the defaults are those of Demircan et al. 2025 for the two-step task."""

    lr: float = 1e-4
    """Adam's learning rate."""
    batch_size: int = 256
    """Rows a step."""
    epochs: int = 30
    """Passes over the data; the paper has 15 for the grid and 20 for the graph."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr) and self.lr > 0 and self.batch_size >= 1 and self.epochs >= 1):
            raise ValueError(f"lr must be positive, batch_size and epochs at least 1: {self}")


class Epoch(NamedTuple):
    """Means over the rows of one epoch, each taken just before the step on its batch, in scaled units."""

    step: int
    """Steps taken by the end of the epoch."""
    loss: float
    mse: float
    l1: float
    l0: float
    resampled: int = 0
    """Dead latents that started again in this epoch."""


class Trained(NamedTuple):
    """An autoencoder and the course of its training."""

    sae: Autoencoder
    history: list[Epoch]


def epoch_batches(n: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Row indices of each batch of one epoch: every row once, in an order drawn from `generator`."""
    order = torch.randperm(n, generator=generator)
    return [order[first : first + batch_size] for first in range(0, n, batch_size)]


def train(
    config: SAEConfig,
    training: TrainingConfig,
    x: Tensor,
    *,
    seed: int,
    device: torch.device | None = None,
    replicas: Replicas = ALONE,
    on_step: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train on raw activations x [N, d_in], on `device`, by default where they lie; batches are moved one by one.

    One generator, seeded with `seed`, draws the weights and then the order of each epoch and what dead latents are
    resampled from, so the same seed and device give the same weights. `on_step(step, n_steps)` is called after each
    step. Raises ValueError for activations of another width or with numbers that are not finite, and for a loss that
    diverges.

    Several `replicas`, called with the same arguments, each read their part of every batch and all return the same
    weights and history: those of one process but for the order of float32 sums, whose rounding grows over thousands
    of steps as much as if the rows within each batch were reordered. What one raises for its arguments or its loss,
    all raise.
    """
    device = device or x.device
    generator = torch.Generator().manual_seed(seed)
    sae = build(config, generator).to(device)
    sae.fit_scaling(x, replicas)
    parameters = list(sae.parameters())
    optimiser = torch.optim.Adam(parameters, lr=training.lr, fused=True)
    n_steps = training.epochs * math.ceil(len(x) / training.batch_size)
    resampled_after = resampling_steps(n_steps, config.resamplings)
    history: list[Epoch] = []
    step = 0
    for _ in range(training.epochs):
        totals = torch.zeros(len(LossTerms._fields), dtype=torch.float64, device=device)
        resampled = 0
        for rows in epoch_batches(len(x), training.batch_size, generator):
            part = x[replicas.share(rows).to(x.device)].to(device)
            terms = sae.loss_of_part(sae.scaled(part), Batch(len(rows), replicas))
            optimiser.zero_grad()
            terms.loss.backward()  # type: ignore[no-untyped-call]
            replicas.sum(*(parameter.grad for parameter in parameters if parameter.grad is not None))
            sae.before_step()
            optimiser.step()
            sae.after_step()
            totals += torch.stack([term.detach() for term in terms]) * len(rows)
            step += 1
            if step in resampled_after:
                resampled += resample_dead(sae, optimiser, x, generator, replicas)
            if on_step is not None:
                on_step(step, n_steps)
        replicas.sum(totals)
        loss, mse, l1, l0 = (totals / len(x)).tolist()
        epoch = Epoch(step, loss, mse, l1, l0, resampled)
        if not math.isfinite(epoch.loss):
            raise ValueError(f"the loss diverged by step {step}; try a learning rate below {training.lr:g}")
        history.append(epoch)
    replicas.check_equal(sae.state_dict().values())
    return Trained(sae.requires_grad_(False).eval(), history)
