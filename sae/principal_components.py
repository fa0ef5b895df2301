"""Principal components of the residual stream: the baseline that an autoencoder should beat."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PrincipalComponents:
    """Mean, directions and variances of data, in float64 on the CPU."""

    mean: Tensor
    """[d]"""
    components: Tensor
    """Orthonormal rows by falling variance [k, d]; the largest entry of each, in size, is positive."""
    variance: Tensor
    """Variance along each component [k], over N - 1."""
    total_variance: float
    """Sum of the variances of all features."""

    def project(self, x: Tensor) -> Tensor:
        """Coordinates of x [..., d] on the components [..., k]."""
        return (x.to(self.mean) - self.mean) @ self.components.T


def principal_components(chunks: Iterable[Tensor], n_components: int | None = None) -> PrincipalComponents:
    """Principal components of chunks of rows, each [N, d], from a covariance accumulated in float64.

    All d of them if no number is given. The result does not depend on the chunks. Raises ValueError for fewer
    than two rows or more components than features.
    """
    n = 0
    mean = scatter = torch.zeros(0, dtype=torch.float64)
    for chunk in chunks:
        if len(chunk) == 0:
            continue
        x = chunk.double()
        chunk_mean = x.mean(0)
        centred = x - chunk_mean
        if n == 0:
            mean, scatter = torch.zeros_like(chunk_mean), torch.zeros_like(centred.T @ centred)
        total = n + len(x)
        shift = chunk_mean - mean
        scatter += centred.T @ centred + torch.outer(shift, shift) * (n * len(x) / total)
        mean += shift * (len(x) / total)
        n = total
    if n < 2:
        raise ValueError(f"principal components need at least two rows, not {n}")
    if n_components is None:
        n_components = len(mean)
    if not 1 <= n_components <= len(mean):
        raise ValueError(f"n_components must be between 1 and {len(mean)}, not {n_components}")
    variance, vectors = torch.linalg.eigh(scatter.cpu() / (n - 1))
    components = vectors.T.flip(0)[:n_components]
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return PrincipalComponents(
        mean.cpu(),
        components * largest.sign(),
        variance.flip(0)[:n_components].clamp_min(0),
        float(scatter.diagonal().sum()) / (n - 1),
    )
