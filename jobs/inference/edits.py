"""Interventions on the residual stream, in delta form: x + decode(z') - decode(z).

The autoencoder's reconstruction error stays in the stream, so an edit that changes no latent changes nothing.
Demircan et al. (2025, arXiv 2410.01280) substitute the reconstruction itself, which also removes the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from jobs.inference.base import StreamEdit

Operation = Literal["zero", "clamp", "multiply", "mean"]


class Autoencoder(Protocol):
    """What an edit needs of a sparse autoencoder, in raw units of the residual stream."""

    def encode(self, x: Tensor) -> Tensor:
        """Latents of the stream: [..., d] to [..., n_latents]."""

    def decoder_rows(self) -> Tensor:
        """What one unit of each latent adds to the stream [n_latents, d]."""


class LatentEdit:
    """Change some latents of one block's autoencoder.

    A decoder is affine, so decode(z') - decode(z) is the sum of (z'_j - z_j) times decoder row j over the
    edited latents. Latents and sum are float32; the result is cast to the stream's dtype once.

    Args:
        block: index into ``hidden_states``.
        sae: the block's autoencoder, on the engine's device.
        latents: indices of the latents to change.
        operation: ``zero``; ``clamp`` to ``value``; ``multiply`` by ``value``; ``mean``, set to ``means``.
        value: for ``clamp`` and ``multiply``.
        means: for ``mean``, one value per entry of ``latents``, in its order.

    Raises:
        ValueError: no latents, or ``value`` or ``means`` doesn't fit the operation.
    """

    def __init__(
        self,
        block: int,
        sae: Autoencoder,
        latents: Sequence[int],
        operation: Operation,
        *,
        value: float | None = None,
        means: Sequence[float] | None = None,
    ) -> None:
        if not latents:
            raise ValueError("an edit needs at least one latent")
        if (value is None) == (operation in ("clamp", "multiply")):
            raise ValueError(f"operation {operation!r} and value {value!r} don't fit: clamp and multiply need one")
        if (None if means is None else len(means)) != (len(latents) if operation == "mean" else None):
            raise ValueError(f"operation {operation!r} and means {means!r} don't fit: mean needs one per latent")
        self.block = block
        self.sae = sae
        self.latents = list(latents)
        self.operation = operation
        self.value = value
        self.means = None if means is None else list(means)
        self._rows = sae.decoder_rows()[list(latents)].detach().float()
        self._latents = torch.tensor(self.latents, device=self._rows.device)
        self._means = torch.tensor(self.means or [], device=self._rows.device)

    def delta(self, x: Tensor) -> Tensor:
        """What the edit adds to the stream, float32: [..., d] to [..., d]."""
        z = self.sae.encode(x.float())[..., self._latents]
        return (self._target(z) - z) @ self._rows

    def __call__(self, x: Tensor) -> Tensor:
        return _added(x, self.delta(x))

    def _target(self, z: Tensor) -> Tensor:
        match self.operation:
            case "multiply":
                assert self.value is not None
                return z * self.value
            case "mean":
                return self._means.expand_as(z)
            case "zero" | "clamp":
                return torch.full_like(z, self.value or 0.0)


class DirectionEdit:
    """Move the stream along one random unit direction, at each token as far as a given latent edit would.

    The control that asks whether an effect belongs to a latent or to any push of its size.

    Args:
        like: the latent edit whose size is copied; gives the block too.
        seed: draws the direction, uniformly over the sphere.
    """

    def __init__(self, like: LatentEdit, seed: int) -> None:
        self.block = like.block
        self.like = like
        self.seed = seed
        d_model = like._rows.shape[1]
        direction = torch.randn(d_model, generator=torch.Generator().manual_seed(seed))
        self.direction = (direction / direction.norm()).to(like._rows.device)
        """Unit vector [d], float32."""

    def __call__(self, x: Tensor) -> Tensor:
        size = self.like.delta(x).norm(dim=-1, keepdim=True)
        return _added(x, size * self.direction)


class SteerEdit:
    """Add a fixed vector to the stream, the same at every token.

    Args:
        block: index into ``hidden_states``.
        vector: what is added [d], or one for each row of the batch [B, 1, d].
    """

    def __init__(self, block: int, vector: Tensor) -> None:
        self.block = block
        self.vector = vector.detach().float()

    def __call__(self, x: Tensor) -> Tensor:
        return _added(x, self.vector.to(x.device))


class WithinEdit:
    """Make another edit at some decisions of whole texts, and leave the stream of the others as it is.

    Args:
        edit: what is done, where it is done.
        decisions: consecutive columns of the batch's positions at which it is done.
    """

    def __init__(self, edit: StreamEdit, decisions: range) -> None:
        self.block = edit.block
        self.edit = edit
        self.decisions = decisions

    def __call__(self, x: Tensor) -> Tensor:
        part = slice(self.decisions.start, self.decisions.stop)
        changed = x.clone()
        changed[:, part] = self.edit(x[:, part])
        return changed


def _added(x: Tensor, delta: Tensor) -> Tensor:
    # x + 0 isn't always x to the bit (-0.0 + 0.0 is 0.0), hence the choice between the two
    return torch.where(delta == 0, x, (x.float() + delta).to(x.dtype))
