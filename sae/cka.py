"""Linear centred kernel alignment: how much of one matrix's geometry another has (Kornblith et al. 2019)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sae.correlation import ROUNDING, Array
from sae.permutation_null import stratum_indices

Floats = NDArray[np.float64]


def paired_cka(x: Array, y: Array, *, strata: ArrayLike | None = None) -> Floats:
    """Linear CKA of every rollout's activations with every rollout's signals, columns centred, in float64.

    CKA = |Y'X|^2 / (|X'X| |Y'Y|) with Frobenius norms, rows = decisions (Demircan et al. 2025, Fig 10). It is 1
    where one is a rotation and scaling of the other; it doesn't see the order of columns. One rollout's activations
    are held at a time.

    Args:
        x: activations [R, T, d].
        y: K signals with S columns each [R, T, K, S].
        strata: [R]; only rollouts of one stratum are paired.

    Returns:
        pairs [R, R, K], the diagonal is each rollout's own; NaN across strata and where nothing varies.
    """
    activations, signals = torch.as_tensor(x), torch.as_tensor(y)
    n_rollouts, _, n_signals, n_states = signals.shape
    pairs = np.full((n_rollouts, n_rollouts, n_signals), np.nan)
    for rollouts in stratum_indices(strata, n_rollouts):
        others = _centred(signals[rollouts].to(activations.device))
        norms = torch.linalg.matrix_norm(torch.einsum("rtks,rtkz->rksz", others, others))  # [n, K]
        columns = others.transpose(0, 1).flatten(1)  # [T, n K S]
        for rollout in rollouts.tolist():
            own = _centred(activations[rollout : rollout + 1])[0]
            shared = (own.T @ columns).square().sum(0).view(len(rollouts), n_signals, n_states).sum(2)
            cka = shared / (_gram_norm(own) * norms)
            pairs[rollout, rollouts] = torch.where(cka.isfinite(), cka, torch.nan).cpu().numpy()
    return pairs


def _centred(values: Tensor) -> Tensor:
    """Values [R, T, …] less their mean over decisions; what doesn't vary is exactly 0."""
    mean = values.mean(1, keepdim=True, dtype=torch.float64)
    left = values - mean
    varies = left.square().mean(1, keepdim=True) > (ROUNDING * mean).square()
    return left * varies


def _gram_norm(x: Tensor) -> Tensor:
    """Frobenius norm of x'x, [T, d], by the smaller of the two products that have it."""
    norm: Tensor = torch.linalg.matrix_norm(x.T @ x if x.shape[1] < x.shape[0] else x @ x.T)
    return norm
