"""TopK autoencoder (Gao et al. 2024, arXiv 2406.04093): the k largest latents of each sample, and AuxK.

Unit decoder rows, a pre-bias shared by encoder and decoder, and an auxiliary loss in which latents that have
not fired for a while model what the others leave over. It wants centred data (`centre = true`): a large mean
kills most latents before AuxK can help.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sae.autoencoder import Autoencoder, LossTerms
from sae.config import SAEConfig
from sae.replicas import Batch


class TopKAutoencoder(Autoencoder):
    """z = top-k of relu((h - b_dec) W_enc + b_enc), h_hat = z W_dec + b_dec, rows of W_dec of norm 1."""

    rows_since_fired: Tensor

    def __init__(self, config: SAEConfig, generator: torch.Generator) -> None:
        super().__init__(config, generator)
        rows = torch.randn(config.d_latents, config.d_in, generator=generator)
        rows = nn.functional.normalize(rows, dim=1)
        self.encoder = nn.Parameter(rows.clone())
        self.encoder_bias = nn.Parameter(torch.zeros(config.d_latents))
        self.decoder = nn.Parameter(rows)
        self.decoder_bias = nn.Parameter(torch.zeros(config.d_in))
        self.register_buffer("rows_since_fired", torch.zeros(config.d_latents, dtype=torch.int64), persistent=False)

    @classmethod
    def check(cls, config: SAEConfig) -> None:
        if config.k is None:
            raise ValueError("a topk autoencoder needs the option k, the latents that may fire per sample")
        if config.l1 is not None:
            raise ValueError("the option l1 belongs to the relu autoencoder, not to topk")

    def activations(self, h: Tensor) -> Tensor:
        """Latents before the k largest are chosen [..., d_latents]."""
        return torch.relu(nn.functional.linear(h - self.decoder_bias, self.encoder, self.encoder_bias))

    def encode_scaled(self, h: Tensor) -> Tensor:
        assert self.config.k is not None
        return keep_largest(self.activations(h), self.config.k)

    def decode_scaled(self, z: Tensor) -> Tensor:
        return z @ self.decoder + self.decoder_bias

    @property
    def decoder_weight(self) -> Tensor:
        return self.decoder

    def loss_of_part(self, h: Tensor, batch: Batch) -> LossTerms:
        """Also counts, for each latent, the rows since it last fired in any part."""
        assert self.config.k is not None
        activations = self.activations(h)
        z = keep_largest(activations, self.config.k)
        h_hat = self.decode_scaled(z)
        mse = self.reconstruction_error(h, h_hat, batch)
        fired = (z.detach() > 0).sum(0)
        l0 = fired.sum() / batch.n
        self.rows_since_fired.add_(batch.n).masked_fill_(batch.sum(fired) > 0, 0)
        dead = self.rows_since_fired >= self.config.dead_after
        loss = mse
        if self.config.aux_weight > 0 and bool(dead.any()):
            loss = mse + self.config.aux_weight * self.auxiliary(activations, dead, (h - h_hat).detach(), batch)
        return LossTerms(loss, mse.detach(), batch.mean(z.detach().sum(1)), l0)

    def auxiliary(self, activations: Tensor, dead: Tensor, residual: Tensor, batch: Batch) -> Tensor:
        """Share of the batch's residual that the largest dead latents leave over in a part [b, d_in] (AuxK), a scalar.

        The gradient reaches the encoder rows and biases of the dead latents through their own activations.
        The bias of the decoder is already in the residual, so it is not added again.
        """
        k = min(self.config.aux_k or max(1, self.config.d_in // 2), int(dead.sum()))
        z = keep_largest(activations.masked_fill(~dead, 0.0), k)
        whole = batch.sum(batch.mean(residual.square()))
        return batch.mean((residual - z @ self.decoder).square()) / whole.clamp_min(1e-12)

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
    values, indices = activations.topk(k, dim=-1, sorted=False)
    return torch.zeros_like(activations).scatter(-1, indices, values)
