"""Linear centred kernel alignment: how much of one matrix's geometry another has (Kornblith et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae.correlation import ROUNDING, Array

Floats = NDArray[np.float64]


CHUNK = 2**19
"""Numbers in the largest temporary array."""


class PairedCka:
    """Linear CKA of the activations of single rollouts with the signals of n rollouts, columns centred, in float64.

    CKA = |Y'X|^2 / (|X'X| |Y'Y|) with Frobenius norms, rows = decisions (Demircan et al. 2025, Fig 10). It is 1
    where one is a rotation and scaling of the other; it doesn't see the order of columns.

    Args:
        y: K signals with S columns each, of every rollout, n times [T, K, S].
    """

    def __init__(self, y: Sequence[Array]) -> None:
        signals = [_centred(torch.as_tensor(one)) for one in y]
        self._shape = (len(signals), *signals[0].shape[1:])
        grams = [torch.einsum("tks,tkz->ksz", one, one) for one in signals]
        self._norms = torch.stack([torch.linalg.matrix_norm(gram) for gram in grams])  # [n, K]
        self._columns = torch.cat([one.flatten(1) for one in signals], 1)  # [T, n K S]

    def of(self, x: Array) -> Floats:
        """With the activations of one rollout [T, d]: [n, K]; NaN where nothing varies."""
        own = _centred(torch.as_tensor(x))
        size = max(1, CHUNK // own.shape[1])
        parts = [self._columns[:, first : first + size] for first in range(0, self._columns.shape[1], size)]
        shared = torch.cat([(own.T @ part).square().sum(0) for part in parts]).view(self._shape).sum(2)
        cka = shared / (_gram_norm(own) * self._norms)
        found: Floats = torch.where(cka.isfinite(), cka, torch.nan).cpu().numpy()
        return found


def _centred(values: Tensor) -> Tensor:
    """Values [T, …] less their mean over decisions; what doesn't vary is exactly 0."""
    mean = values.mean(0, dtype=torch.float64)
    left = values - mean
    varies = left.square().mean(0) > (ROUNDING * mean).square()
    return left * varies


def _gram_norm(x: Tensor) -> Tensor:
    """Frobenius norm of x'x, [T, d], by the smaller of the two products that have it."""
    norm: Tensor = torch.linalg.matrix_norm(x.T @ x if x.shape[1] < x.shape[0] else x @ x.T)
    return norm
