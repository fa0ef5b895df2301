"""The autoencoder of Demircan et al. 2025 (arXiv 2410.01280): a plain linear pair and a ReLU.

L = ||h - h_hat||^2 + l1 * ||z||_1^2, with the square as printed in equation 3. No tied weights, no constraint
on the decoder and no pre-bias. DuPlessie 2024 has the same without the square (`l1_squared = false`), with
`transpose_init` and `resamplings` as variants.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sae.autoencoder import Autoencoder, LossTerms, linear
from sae.config import SAEConfig
from sae.replicas import Batch


class ReLUAutoencoder(Autoencoder):
    """z = relu(W_enc h + b_enc), h_hat = W_dec z + b_dec."""

    def __init__(self, config: SAEConfig, generator: torch.Generator) -> None:
        super().__init__(config, generator)
        self.encoder = linear(config.d_in, config.d_latents, generator)
        self.decoder = linear(config.d_latents, config.d_in, generator)
        if config.transpose_init:
            with torch.no_grad():
                self.decoder.weight.copy_(self.encoder.weight.T)

    @classmethod
    def check(cls, config: SAEConfig) -> None:
        if config.l1 is None:
            raise ValueError("a relu autoencoder needs the option l1 (Demircan et al. 2025 have 1e-5)")
        if config.k is not None:
            raise ValueError("the option k belongs to the topk autoencoder, not to relu")
        if config.signed:
            raise ValueError("the option signed belongs to the topk autoencoder, not to relu")

    def encode_scaled(self, h: Tensor) -> Tensor:
        return torch.relu(self.encoder(h))

    def decode_scaled(self, z: Tensor) -> Tensor:
        return self.decoder(z)  # type: ignore[no-any-return]

    @property
    def decoder_weight(self) -> Tensor:
        return self.decoder.weight.T

    def by_latent(self, of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        return of(self.encoder.weight), of(self.encoder.bias), of(self.decoder.weight).T

    def loss_of_part(self, h: Tensor, batch: Batch) -> LossTerms:
        assert self.config.l1 is not None
        z = self.encode_scaled(h)
        mse = self.reconstruction_error(h, self.decode_scaled(z), batch)
        norm = z.sum(1)  # z >= 0, so this is the L1 norm
        penalty = norm.square() if self.config.l1_squared else norm
        l0 = z.detach().sign().sum() / batch.n
        if self.config.resamplings:
            self.count_firing((z.detach() > 0).sum(0), batch)
        return LossTerms(mse + self.config.l1 * batch.mean(penalty), mse.detach(), batch.mean(norm.detach()), l0)
