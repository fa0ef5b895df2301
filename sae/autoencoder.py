"""The contract that every autoencoder fulfils."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sae.config import SAEConfig
from sae.replicas import ALONE, Batch, Replicas

CHUNK = 8192
"""Rows whose norms are taken at once."""


class LossTerms(NamedTuple):
    """The loss of a batch and its parts, each a scalar averaged over the batch, in scaled units."""

    loss: Tensor
    """What is minimised."""
    mse: Tensor
    """Reconstruction term, reduced as the configuration says."""
    l1: Tensor
    """Mean over samples of the latents' L1 norm."""
    l0: Tensor
    """Mean over samples of the number of latents that fire."""


class Autoencoder(nn.Module, ABC):
    """Sparse autoencoder of a residual stream.

    `encode` and `decode` take and give the raw residual stream; a subclass sees only scaled data,
    h = scale * (x - mean), where `mean` [d_in] and `scale` [] are buffers fixed by `fit_scaling`.
    Latents z are in scaled units, and everything is computed in the parameters' dtype (float32).
    """

    mean: Tensor
    scale: Tensor
    rows_since_fired: Tensor
    """While it is trained: rows since each latent last fired [d_latents]."""

    def __init__(self, config: SAEConfig, generator: torch.Generator) -> None:
        """Draw the initial weights from `generator` (on the CPU) and from nothing else."""
        super().__init__()
        self.check(config)
        self.config = config
        self.register_buffer("mean", torch.zeros(config.d_in))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("rows_since_fired", torch.zeros(config.d_latents, dtype=torch.int64), persistent=False)

    @classmethod
    @abstractmethod
    def check(cls, config: SAEConfig) -> None:
        """Raise ValueError where an option is missing or belongs to another architecture."""

    @abstractmethod
    def encode_scaled(self, h: Tensor) -> Tensor:
        """Latents [..., d_latents] of scaled data [..., d_in]."""

    @abstractmethod
    def decode_scaled(self, z: Tensor) -> Tensor:
        """Scaled reconstruction [..., d_in] of latents [..., d_latents]."""

    @property
    @abstractmethod
    def decoder_weight(self) -> Tensor:
        """Decoder rows in scaled units [d_latents, d_in]."""

    @abstractmethod
    def by_latent(self, of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Of each latent the encoder row [d_latents, d_in], its bias [d_latents] and the decoder row [d_latents, d_in].

        Views of what `of` gives for the parameters that hold them: their data, or an optimiser's state.
        """

    @abstractmethod
    def loss_of_part(self, h: Tensor, batch: Batch) -> LossTerms:
        """What a part [b, d_in] of a batch of scaled data adds to the terms of the whole batch; b may be 0.

        A term that is a mean over the batch is `batch.mean(...)`; what must be known of the whole batch before
        is `batch.sum(...)`, called the same number of times on every part.
        """

    def loss(self, h: Tensor) -> LossTerms:
        """Training loss of a batch of scaled data [B, d_in]."""
        return self.loss_of_part(h, Batch(len(h)))

    def before_step(self) -> None:
        """Called between the backward pass and the optimiser's step."""

    def after_step(self) -> None:
        """Called after the optimiser's step."""

    def count_firing(self, fired: Tensor, batch: Batch) -> None:
        """Update `rows_since_fired` by how many rows of a part of a batch each latent fired at [d_latents]."""
        self.rows_since_fired.add_(batch.n).masked_fill_(batch.sum(fired) > 0, 0)

    @torch.no_grad()
    def fit_scaling(self, x: Tensor, replicas: Replicas = ALONE) -> None:
        """Fix centring and scaling on data [N, d_in]: sqrt(d_in) over the mean norm of its rows.

        The data may lie on another device; of `replicas`, each reads its share of them.
        Source: Demircan et al. 2025 (arXiv 2410.01280). Raises ValueError where x has another
        shape, is empty, holds a number that is not finite, or has nothing left to scale.
        """
        d_in = self.config.d_in
        if x.ndim != 2 or x.shape[1] != d_in or len(x) == 0:
            raise ValueError(f"expected activations of shape [N, {d_in}] with N >= 1, not {list(x.shape)}")
        data = Batch(len(x), replicas)
        part = replicas.share(x)
        total = data.sum(part.sum(0, dtype=torch.float64).to(self.mean.device))
        if not bool(torch.isfinite(total).all()):  # as every sum is that holds such a number
            raise ValueError("the activations hold a number that is not finite")
        if self.config.centre:
            self.mean.copy_(total / len(x))
        if self.config.scale:
            norms = torch.zeros((), dtype=torch.float64, device=self.mean.device)
            for rows in torch.split(part, CHUNK):
                norms += (rows.to(self.mean) - self.mean).norm(dim=1).sum(dtype=torch.float64)
            norm = data.sum(norms) / len(x)
            if float(norm) == 0.0:
                raise ValueError("the activations cannot be scaled: every row is zero")
            self.scale.copy_(math.sqrt(d_in) / norm)

    def scaled(self, x: Tensor) -> Tensor:
        """h = scale * (x - mean), [..., d_in]."""
        return (x.to(self.mean.dtype) - self.mean) * self.scale

    def encode(self, x: Tensor) -> Tensor:
        """Latents [..., d_latents] of the raw residual stream [..., d_in]."""
        return self.encode_scaled(self.scaled(x))

    def decode(self, z: Tensor) -> Tensor:
        """Reconstruction [..., d_in] of the raw residual stream from latents [..., d_latents]."""
        return self.decode_scaled(z) / self.scale + self.mean

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruction of the raw residual stream."""
        return self.decode(self.encode(x))

    def decoder_rows(self) -> Tensor:
        """What a unit of each latent adds to the raw residual stream [d_latents, d_in]."""
        return self.decoder_weight / self.scale

    def reconstruction_error(self, h: Tensor, h_hat: Tensor, batch: Batch) -> Tensor:
        """Squared error, reduced over features as configured; the part's share of its average over the batch."""
        count = batch.n if self.config.mse_reduction == "sum" else batch.n * self.config.d_in
        return torch.nn.functional.mse_loss(h_hat, h, reduction="sum") / count


def linear(d_in: int, d_out: int, generator: torch.Generator) -> nn.Linear:
    """nn.Linear with PyTorch's default distribution, drawn from `generator` instead of the global state."""
    layer = nn.Linear(d_in, d_out, device="meta").to_empty(device="cpu")
    bound = 1 / math.sqrt(d_in)  # kaiming_uniform with a = sqrt(5) comes to the same bound as the bias has
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
