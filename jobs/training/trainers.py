"""Where an autoencoder is trained: in this process, or over ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from jobs.inference.ranks.group import GroupSettings, RankGroup
from jobs.inference.ranks.wire import Payload
from jobs.sections import ModelSection, SAESection
from jobs.training.program import measured, near
from sae.architectures import build
from sae.autoencoder import Autoencoder
from sae.config import SAEConfig
from sae.training import Epoch, TrainingConfig, train
from tdlens.errors import UserError

PROGRAM = "jobs.training.program:TrainingProgram"
ROWS_A_RANK = 256
"""Rows of each batch below which a rank isn't worth its while: 5 floating-point operations a row and weight, on a GPU
of 50 Tflop/s in float32, then take as long as summing the gradient of that weight, 8 bytes at NVLink's 300 GB/s."""


class Fitted(NamedTuple):
    """A trained autoencoder, on the CPU, the course of its training, and its metrics over the data."""

    sae: Autoencoder
    history: list[Epoch]
    metrics: dict[str, float]


class Trainer(Protocol):
    """What trains autoencoders."""

    def fit(
        self, config: SAEConfig, training: TrainingConfig, x: Tensor, *, seed: int, on_step: Callable[[], None]
    ) -> Fitted:
        """Train on raw activations x [N, d] on the CPU; ``on_step`` is called after each step.

        Raises:
            ValueError, UserError: activations that aren't finite, or a loss that diverges.
            RanksFailed: the ranks couldn't go on.
        """

    def close(self) -> None:
        """Let go of processes; harmless to repeat."""


class LocalTrainer:
    """Trains in this process."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def fit(
        self, config: SAEConfig, training: TrainingConfig, x: Tensor, *, seed: int, on_step: Callable[[], None]
    ) -> Fitted:
        try:
            return self._fit(config, training, near(x, self._device), seed, on_step)
        finally:
            torch.cuda.empty_cache()  # what holds the language model may be another process

    def _fit(
        self, config: SAEConfig, training: TrainingConfig, x: Tensor, seed: int, on_step: Callable[[], None]
    ) -> Fitted:
        sae, history = train(
            config, training, x, seed=seed, device=self._device, on_step=lambda step, n_steps: on_step()
        )
        metrics = measured(sae, x)
        return Fitted(sae.cpu(), history, metrics)

    def close(self) -> None:
        """Nothing is held between autoencoders."""


class RankedTrainer:
    """Trains over ranks, which start with the first autoencoder and wait for the next."""

    def __init__(self, settings: GroupSettings) -> None:
        self._settings = settings
        self._group: RankGroup | None = None
        self._on_step: Callable[[], None] = lambda: None

    def fit(
        self, config: SAEConfig, training: TrainingConfig, x: Tensor, *, seed: int, on_step: Callable[[], None]
    ) -> Fitted:
        if self._group is None or not self._group.alive:
            self._group = RankGroup(PROGRAM, {}, self._settings, deepspeed=False, heard=self._heard)
        self._on_step = on_step
        message = {"autoencoder": asdict(config), "training": asdict(training), "seed": seed}
        n = self._settings.n
        told, weights = self._group.ask([message] * n, [Payload.of({"x": x})] * n)[0]
        sae = build(config, torch.Generator())
        sae.load_state_dict(weights)
        history = [Epoch(*epoch) for epoch in told["history"]]
        return Fitted(sae.requires_grad_(False).eval(), history, told["metrics"])

    def close(self) -> None:
        """End the ranks; another autoencoder starts new ones."""
        if self._group is not None:
            self._group.close()
            self._group = None

    def _heard(self, rank: int, said: dict[str, Any]) -> None:
        self._on_step()


def n_ranks(section: SAESection, model: ModelSection, device: torch.device) -> int:
    """How many processes train a section's autoencoders on this machine."""
    if section.ranks is not None:
        return section.ranks
    if device.type == "cpu" or model.engine != "deepspeed":
        return 1
    return max(1, min(model.parallel.ranks or torch.cuda.device_count(), section.batch_size // ROWS_A_RANK))


def make_trainer(n: int, model: ModelSection, device: torch.device) -> Trainer:
    """What trains on ``n`` processes; those of several start with the first autoencoder.

    Raises:
        UserError: more processes than GPUs.
    """
    if n == 1:
        return LocalTrainer(device)
    if device.type == "cuda" and (device.index is not None or n > torch.cuda.device_count()):
        has = f"has {torch.cuda.device_count()} GPUs" if device.index is None else f"may take {device} alone"
        raise UserError(
            f"An autoencoder is to be trained on {n} GPUs, and this machine {has}.",
            "Leave ranks out of the study's [[sae]] section, or give no more than it has, and no model.device.",
        )
    parallel = model.parallel
    settings = GroupSettings(n, "cuda" if device.type == "cuda" else "cpu", parallel.launcher, 60 * parallel.timeout)
    return RankedTrainer(settings)
