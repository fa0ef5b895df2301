"""TopK autoencoder (Gao et al. 2024, arXiv 2406.04093): the k largest latents of each sample, and AuxK.

Unit decoder rows, a pre-bias shared by encoder and decoder, and an auxiliary loss in which latents that have
not fired for a while model what the others leave over. It wants centred data (`centre = true`): a large mean
kills most latents before AuxK can help.

DuPlessie 2024 keeps negative latents too (`signed`), has no AuxK (`aux_weight = 0`), and rows that are equal or
independent at the start (`transpose_init`). Two things in that code are slips and have no option here: its encoder is
given h + b_dec, though the decoder adds b_dec, so that h - b_dec is left to be coded; and its decoder has norm 1 for
each dimension of the data, not for each latent, so that the size of a latent's values means nothing by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sae.autoencoder import Autoencoder, LossTerms
from sae.config import SAEConfig
from sae.replicas import Batch
from sae.sparse_codes import at_least_the_kth, decode, encode, largest

FEW = 16
"""Where more than so many times k latents are to choose from, a CPU computes with those that fire alone."""


class Code(NamedTuple):
    """What the k largest latents of some rows make."""

    values: Tensor
    """Of those latents [b, k], or of all [b, d_latents]."""
    fired: Tensor
    """At how many rows each latent isn't 0 [d_latents]."""
    decoded: Tensor
    """Without the bias [b, d_in]."""


class TopKAutoencoder(Autoencoder):
    """z = top-k of relu((h - b_dec) W_enc + b_enc), h_hat = z W_dec + b_dec, rows of W_dec of norm 1."""

    def __init__(self, config: SAEConfig, generator: torch.Generator) -> None:
        super().__init__(config, generator)
        rows = torch.randn(config.d_latents, config.d_in, generator=generator)
        rows = nn.functional.normalize(rows, dim=1)
        encoder = rows.clone()
        if config.transpose_init is False:
            encoder = nn.functional.normalize(torch.randn(rows.shape, generator=generator), dim=1)
        self.encoder = nn.Parameter(encoder)
        self.encoder_bias = nn.Parameter(torch.zeros(config.d_latents))
        self.decoder = nn.Parameter(rows)
        self.decoder_bias = nn.Parameter(torch.zeros(config.d_in))

    @classmethod
    def check(cls, config: SAEConfig) -> None:
        if config.k is None:
            raise ValueError("a topk autoencoder needs the option k, the latents that may fire per sample")
        if config.l1 is not None:
            raise ValueError("the option l1 belongs to the relu autoencoder, not to topk")

    def activations(self, h: Tensor) -> Tensor:
        """Latents before the k largest are chosen and rectified [..., d_latents]."""
        return nn.functional.linear(h - self.decoder_bias, self.encoder, self.encoder_bias)

    def rectified(self, z: Tensor) -> Tensor:
        """Latents without those below 0, unless these are wanted."""
        return z if self.config.signed else torch.relu(z)

    def encode_scaled(self, h: Tensor) -> Tensor:
        assert self.config.k is not None
        return self.rectified(keep_largest(self.activations(h), self.config.k))

    def code(self, h: Tensor, activations: Tensor, k: int) -> Code:
        """The k largest of `activations` of rows h [b, d_in], with the gradient of these alone."""
        if h.device.type == "cpu" and self.config.d_latents > FEW * k:
            indices = largest(activations, k)
            values = encode(h - self.decoder_bias, self.encoder, self.encoder_bias, activations, indices)
            values = self.rectified(values)
            fired = torch.bincount(indices[values.detach() != 0], minlength=self.config.d_latents)
            return Code(values, fired, decode(values, indices, self.decoder))
        z = self.rectified(keep_largest(activations, k))
        return Code(z, (z.detach() != 0).sum(0), z @ self.decoder)

    def decode_scaled(self, z: Tensor) -> Tensor:
        return z @ self.decoder + self.decoder_bias

    @property
    def decoder_weight(self) -> Tensor:
        return self.decoder

    def by_latent(self, of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        return of(self.encoder), of(self.encoder_bias), of(self.decoder)

    def loss_of_part(self, h: Tensor, batch: Batch) -> LossTerms:
        assert self.config.k is not None
        activations = self.activations(h)
        code = self.code(h, activations, self.config.k)
        h_hat = code.decoded + self.decoder_bias
        mse = self.reconstruction_error(h, h_hat, batch)
        l0 = code.fired.sum() / batch.n
        self.count_firing(code.fired, batch)
        dead = self.rows_since_fired >= self.config.dead_after
        loss = mse
        if self.config.aux_weight > 0 and bool(dead.any()):
            loss = mse + self.config.aux_weight * self.auxiliary(h, activations, dead, (h - h_hat).detach(), batch)
        return LossTerms(loss, mse.detach(), batch.mean(code.values.detach().abs().sum(1)), l0)

    def auxiliary(self, h: Tensor, activations: Tensor, dead: Tensor, residual: Tensor, batch: Batch) -> Tensor:
        """Share of the batch's residual that the largest dead latents leave over in a part [b, d_in] (AuxK), a scalar.

        The gradient reaches the encoder rows and biases of the dead latents through their own activations.
        The bias of the decoder is already in the residual, so it is not added again.
        """
        k = min(self.config.aux_k or max(1, self.config.d_in // 2), int(dead.sum()))
        decoded = self.code(h, activations.masked_fill(~dead, -torch.inf), k).decoded
        whole = batch.sum(batch.mean(residual.square()))
        return batch.mean((residual - decoded).square()) / whole.clamp_min(1e-12)

    @torch.no_grad()
    def before_step(self) -> None:
        """Take out the gradient along each decoder row, which the unit norm would only undo."""
        if self.decoder.grad is not None:
            along = (self.decoder.grad * self.decoder).sum(1, keepdim=True)
            self.decoder.grad.sub_(along * self.decoder)

    @torch.no_grad()
    def after_step(self) -> None:
        """Bring the decoder rows back to norm 1."""
        self.decoder.div_(self.decoder.norm(dim=1, keepdim=True))


def keep_largest(activations: Tensor, k: int) -> Tensor:
    """All but the k largest entries of the last dimension set to zero."""
    kept = at_least_the_kth(activations, k)
    if kept is not None:
        return torch.where(kept, activations, 0.0)
    values, indices = activations.topk(k, dim=-1, sorted=False)
    return torch.zeros_like(activations).scatter(-1, indices, values)
