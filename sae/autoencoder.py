"""The contract that every autoencoder fulfils."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sae.config import SAEConfig


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

    def __init__(self, config: SAEConfig, generator: torch.Generator) -> None:
        """Draw the initial weights from `generator` (on the CPU) and from nothing else."""
        super().__init__()
        self.check(config)
        self.config = config
        self.register_buffer("mean", torch.zeros(config.d_in))
        self.register_buffer("scale", torch.ones(()))

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
    def loss(self, h: Tensor) -> LossTerms:
        """Training loss of a batch of scaled data [B, d_in]."""

    def before_step(self) -> None:
        """Called between the backward pass and the optimiser's step."""

    def after_step(self) -> None:
        """Called after the optimiser's step."""

    @torch.no_grad()
    def fit_scaling(self, x: Tensor) -> None:
        """Fix centring and scaling on data [N, d_in]: sqrt(d_in) over the mean norm of its rows.

        Source: Demircan et al. 2025 (arXiv 2410.01280). Raises ValueError where x has another
        shape, is empty, holds a number that is not finite, or has nothing left to scale.
        """
        d_in = self.config.d_in
        if x.ndim != 2 or x.shape[1] != d_in or len(x) == 0:
            raise ValueError(f"expected activations of shape [N, {d_in}] with N >= 1, not {list(x.shape)}")
        if not bool(torch.isfinite(x).all()):
            raise ValueError("the activations hold a number that is not finite")
        if self.config.centre:
            self.mean.copy_(x.mean(0, dtype=torch.float64))
        if self.config.scale:
            norm = (x.to(self.mean.dtype) - self.mean).norm(dim=1).mean(dtype=torch.float64)
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

    def reconstruction_error(self, h: Tensor, h_hat: Tensor) -> Tensor:
        """Squared error, reduced over features as configured and averaged over the batch."""
        error = torch.nn.functional.mse_loss(h_hat, h)
        return error * self.config.d_in if self.config.mse_reduction == "sum" else error


def linear(d_in: int, d_out: int, generator: torch.Generator) -> nn.Linear:
    """nn.Linear with PyTorch's default distribution, drawn from `generator` instead of the global state."""
    layer = nn.Linear(d_in, d_out, device="meta").to_empty(device="cpu")
    bound = 1 / math.sqrt(d_in)  # kaiming_uniform with a = sqrt(5) comes to the same bound as the bias has
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
