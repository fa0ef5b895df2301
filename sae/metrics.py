"""How well an autoencoder describes activations and what its latents do, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae.autoencoder import Autoencoder

CHUNK = 2**20
"""Numbers that are encoded at once."""


@dataclass(frozen=True)
class Metrics:
    """Metrics over N rows of raw activations; latents are in scaled units, errors in raw units."""

    n: int
    """Rows."""
    mse: float
    """Mean squared error over rows and features."""
    fvu: float
    """Fraction of variance unexplained: squared error over squared distance from the mean of the data."""
    explained_variance: float
    """1 - fvu: 0 for a model that always answers the mean; NaN where the data do not vary."""
    l0: float
    """Latents that fire, averaged over rows."""
    live: int
    """Latents that fire at least once."""
    dead: int
    """Latents that never fire."""
    non_constant: int
    """Latents with non-zero variance over the data: what Demircan et al. 2025 call L0 (Fig 8)."""
    frequency: NDArray[np.float64]
    """Fraction of rows on which each latent fires [d_latents]."""
    latent_mean: NDArray[np.float64]
    """Mean of each latent over all rows [d_latents], for mean ablation."""
    latent_rms: NDArray[np.float64]
    """Root mean square of each latent over all rows [d_latents]: its size, for matching controls."""
    varies: NDArray[np.bool_]
    """Whether each latent has non-zero variance [d_latents]."""

    def scalars(self) -> dict[str, float]:
        """The metrics that are single numbers, by name."""
        return {name: value for name, value in vars(self).items() if not isinstance(value, np.ndarray)}


class StreamingMetrics:
    """Accumulates `Metrics` chunk by chunk in float64; the result does not depend on the chunks."""

    def __init__(self, d_in: int, d_latents: int) -> None:
        self.n = 0
        self.squared_error = 0.0
        self.x_mean = torch.zeros(d_in, dtype=torch.float64)
        self.x_scatter = torch.zeros(d_in, dtype=torch.float64)  # sum of squares about the mean
        self.fired = torch.zeros(d_latents, dtype=torch.float64)
        self.z_sum = torch.zeros(d_latents, dtype=torch.float64)
        self.z_squares = torch.zeros(d_latents, dtype=torch.float64)
        self.z_min = torch.full((d_latents,), torch.inf, dtype=torch.float64)
        self.z_max = torch.full((d_latents,), -torch.inf, dtype=torch.float64)

    def update(self, x: Tensor, z: Tensor, x_hat: Tensor) -> None:
        """Add rows: raw x [N, d_in], latents z [N, d_latents], raw reconstructions x_hat [N, d_in]."""
        rows = len(x)
        if rows == 0:
            return
        x, z = x.double(), z.double()
        self.squared_error += float((x - x_hat.double()).square().sum())
        mean = x.mean(0)
        scatter = (x - mean).square().sum(0).cpu()
        shift = mean.cpu() - self.x_mean
        total = self.n + rows
        self.x_scatter += scatter + shift.square() * (self.n * rows / total)
        self.x_mean += shift * (rows / total)
        self.n = total
        self.fired += (z != 0).sum(0).cpu()
        self.z_sum += z.sum(0).cpu()
        self.z_squares += z.square().sum(0).cpu()
        # Constancy by the extremes is exact, where a variance would leave rounding.
        self.z_min = torch.minimum(self.z_min, z.amin(0).cpu())
        self.z_max = torch.maximum(self.z_max, z.amax(0).cpu())

    def result(self) -> Metrics:
        """The metrics so far. Raises ValueError before the first row."""
        if self.n == 0:
            raise ValueError("metrics need at least one row of activations")
        variation = float(self.x_scatter.sum())
        fvu = self.squared_error / variation if variation > 0 else float("nan")
        varies = (self.z_max > self.z_min).numpy()
        live = int((self.fired > 0).sum())
        return Metrics(
            n=self.n,
            mse=self.squared_error / (self.n * len(self.x_mean)),
            fvu=fvu,
            explained_variance=1 - fvu,
            l0=float(self.fired.sum()) / self.n,
            live=live,
            dead=len(self.fired) - live,
            non_constant=int(varies.sum()),
            frequency=(self.fired / self.n).numpy(),
            latent_mean=(self.z_sum / self.n).numpy(),
            latent_rms=(self.z_squares / self.n).sqrt().numpy(),
            varies=varies,
        )


@torch.no_grad()
def evaluate(sae: Autoencoder, chunks: Iterable[Tensor]) -> Metrics:
    """Metrics of `sae` over chunks of raw activations, each [N, d_in]."""
    metrics = StreamingMetrics(sae.config.d_in, sae.config.d_latents)
    for chunk in chunks:
        for x in rows_at_once(chunk, sae.config.d_latents):
            z = sae.encode(x)
            metrics.update(x, z, sae.decode(z))
    return metrics.result()


def rows_at_once(x: Tensor, width: int) -> tuple[Tensor, ...]:
    """Rows [n, d] in parts of which `width` features make `CHUNK` numbers at most, if a row does."""
    return torch.split(x, max(1, CHUNK // max(1, width)))
