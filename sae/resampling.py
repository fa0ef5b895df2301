"""Latents that have stopped firing start again, where the autoencoder does badly.

After Bricken et al. 2023 (Towards Monosemanticity), as DuPlessie 2024 has it for deep Q networks. Each latent that
counts as dead takes a row of the data, drawn with probability proportional to the square of its loss: its decoder row
becomes the direction of that row from the decoder's bias, its encoder row that direction at 0.2 times the mean norm of
the live latents' encoder rows, its bias 0, and the optimiser forgets what it knew of it.

It can do harm. The 0.2 is meant for a ReLU, which such a latent passes; among the k largest of a TopK autoencoder it
comes last, so that many fall silent again. And whatever the architecture, a step of Adam without a memory
is up to three times as long as the learning rate. In the Q networks of DuPlessie 2024 resampled autoencoders
reconstruct worse than those left alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sae.autoencoder import Autoencoder
from sae.replicas import ALONE, Replicas

ENCODER_NORM = 0.2
"""Norm of a new encoder row, of the live ones' mean."""
CHUNK = 8192
"""Rows whose loss is taken at once."""


def resampling_steps(n_steps: int, resamplings: int) -> set[int]:
    """After which of `n_steps` latents are resampled: so many times, evenly spread, neither first nor last."""
    return {round(time * n_steps / (resamplings + 1)) for time in range(1, resamplings + 1)} - {0, n_steps}


@torch.no_grad()
def resample_dead(
    sae: Autoencoder,
    optimiser: torch.optim.Adam,
    x: Tensor,
    generator: torch.Generator,
    replicas: Replicas = ALONE,
) -> int:
    """Start the latents again that haven't fired for `dead_after` rows; returns how many.

    Each takes another row of the data x [N, d_in]. Rows that are reconstructed exactly are not taken, so that some
    latents stay dead where there are too few others; all stay where none is alive to give the encoder's norm.
    Of several replicas each encodes its share of x, and all draw the same rows.
    """
    dead = sae.rows_since_fired >= sae.config.dead_after
    losses = row_losses(sae, x, replicas)
    n = min(int(dead.sum()), int((losses > 0).sum()))
    if n == 0 or bool(dead.all()):
        return 0
    # The largest w / e, with e exponential, are a sample without replacement with probabilities that follow w.
    chances = losses.square() / torch.empty(len(x), dtype=torch.float64).exponential_(generator=generator)
    picked = x[chances.topk(n).indices.to(x.device)].to(sae.mean.device)
    latents = dead.nonzero().flatten()[:n]
    bias = sae.decode_scaled(sae.mean.new_zeros(sae.config.d_latents))
    directions = torch.nn.functional.normalize(sae.scaled(picked) - bias, dim=1)
    encoder, encoder_bias, decoder = sae.by_latent(lambda parameter: parameter.data)
    encoder[latents] = ENCODER_NORM * encoder[~dead].norm(dim=1).mean() * directions
    encoder_bias[latents] = 0.0
    decoder[latents] = directions
    moments = (
        *sae.by_latent(lambda parameter: optimiser.state[parameter]["exp_avg"]),
        *sae.by_latent(lambda parameter: optimiser.state[parameter]["exp_avg_sq"]),
    )
    for moment in moments:
        moment[latents] = 0.0
    sae.rows_since_fired[latents] = 0
    return n


def row_losses(sae: Autoencoder, x: Tensor, replicas: Replicas = ALONE) -> Tensor:
    """Squared error of each row of x [N, d_in] in scaled units, float64 [N] on the CPU; the same on all replicas."""
    losses = torch.zeros(len(x), dtype=torch.float64, device=sae.mean.device)
    for rows in torch.split(replicas.share(torch.arange(len(x), device=losses.device)), CHUNK):
        h = sae.scaled(x[rows.to(x.device)].to(losses.device))
        losses[rows] = (h - sae.decode_scaled(sae.encode_scaled(h))).square().sum(1).double()
    replicas.sum(losses)
    return losses.cpu()
