"""What a latent follows of a signal that is a sum of parts: its regression on all parts at once.

A latent that follows a difference has weights of opposed signs on the two parts, one that follows a single part has
none on the other: its correlation with the difference can't tell the two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SINGULAR = 1e-9
"""Smallest eigenvalue of the parts' correlation matrix at which their weights can be told apart."""
RELATIVE = 1e-10
"""Covariates may be linear functions of each other up to this."""


class Weights(NamedTuple):
    """Standardised coefficients of P parts and the share of variance that they explain, with limits over resamples.

    NaN where the latent or a part doesn't vary, or the parts are linear functions of each other and the covariates.
    """

    value: Floats
    """[P + 1]: how many standard deviations the latent rises with one of each part; last the share."""
    low: Floats
    high: Floats


def part_weights(
    z: Floats, parts: Floats, given: Floats | None = None, *, weights: Floats, confidence: float = 0.95
) -> Weights:
    """Least squares of a latent on parts, pooled over decisions.

    Args:
        z: the latent [R, T].
        parts: [R, T, P].
        given: covariates [R, T, C] that are regressors, too; the share is then of the variance that they leave.
        weights: how often each rollout occurs in each bootstrap resample, [B, R].
    """
    columns = [z[:, :, None], parts, *([] if given is None else [given])]
    values = np.concatenate(columns, axis=2)
    values = values - values.mean((0, 1))
    spread = np.sqrt((values**2).mean((0, 1)))
    values = np.divide(values, spread, out=np.zeros_like(values), where=spread > 0)
    sums, products = values.sum(1), np.einsum("rti,rtj->rij", values, values, optimize=True)
    n_parts, n_decisions = parts.shape[2], z.shape[1]

    def solved(often: Floats) -> Floats:
        n = often.sum() * n_decisions
        mean = often @ sums / n
        covariance = np.tensordot(often, products, 1) / n - np.outer(mean, mean)
        return _solve(covariance, n_parts)

    value = solved(np.ones(len(z)))
    resampled = np.array([solved(often) for often in weights])
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    return Weights(value, low, high)


def _solve(covariance: Floats, n_parts: int) -> Floats:
    """Standardised coefficients and explained share from the covariance of latent, parts and covariates."""
    spread = np.sqrt(np.maximum(covariance.diagonal(), 0))
    if not (spread[: 1 + n_parts] > 0).all():
        return np.full(n_parts + 1, np.nan)
    scale = np.where(spread > 0, spread, np.inf)
    r = covariance / np.outer(scale, scale)
    own, rest = r[: 1 + n_parts, : 1 + n_parts], r[: 1 + n_parts, 1 + n_parts :]
    if rest.shape[1]:
        among = r[1 + n_parts :, 1 + n_parts :]
        own = own - rest @ np.linalg.pinv(among, rcond=RELATIVE, hermitian=True) @ rest.T
    left, among_parts, with_z = own[0, 0], own[1:, 1:], own[1:, 0]
    if left < SINGULAR or np.linalg.eigvalsh(among_parts)[0] < SINGULAR:
        return np.full(n_parts + 1, np.nan)
    coefficients = np.linalg.solve(among_parts, with_z)
    return np.append(coefficients, coefficients @ with_z / left)
