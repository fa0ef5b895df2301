"""Correlation of features with matrix-valued signals, one column a state, rollout by rollout.

The protocol of Demircan et al. 2025 for graph learning (Fig 5D and E): in each rollout every live latent is correlated
with every state's column, the largest signed r over latents stands for the state, and the mean over states for the
rollout. States have other names in each rollout, so each rollout may have other latents.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sae.correlation import RESIDUAL_SHARE, ROUNDING, Array
from sae.permutation_null import stratum_indices

Floats = NDArray[np.float64]

CHUNK = 2**22
"""Numbers in the largest temporary array."""


def state_correlation(x: Array, y: Array, covariates: Array | None = None) -> Floats:
    """Signed Pearson r of each rollout [R, L, S].

    Args:
        x: features [R, T, L].
        y: one signal, a column a state [R, T, S].
        covariates: held constant within each rollout [R, T, C]; r is then the partial correlation.

    Returns:
        NaN where feature or column doesn't vary in the rollout, or is a linear function of the covariates there.
    """
    u, u_varies = within_rollouts(x, covariates)
    v, v_varies = within_rollouts(y, covariates)
    r = torch.bmm(u.transpose(1, 2), v).clamp(-1, 1)
    r[~(u_varies[:, :, None] & v_varies[:, None, :])] = torch.nan
    found: Floats = r.cpu().numpy()
    return found


def largest(r: Floats) -> Floats:
    """Mean over states of the largest signed r over features: [..., L, S] to [...].

    States and features without an r are left out; NaN where nothing is left.
    """
    best = np.where(np.isnan(r), -np.inf, r).max(-2, initial=-np.inf)
    known = np.isfinite(best)
    count = known.sum(-1)
    total = np.where(known, best, 0.0).sum(-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def best_states(r: Floats) -> Floats:
    """Each feature's largest signed r over states: [..., L, S] to [..., L]; NaN where it has none."""
    best = np.where(np.isnan(r), -np.inf, r).max(-1, initial=-np.inf)
    return np.where(np.isfinite(best), best, np.nan)


def latent_scores(best: Floats) -> Floats:
    """How closely each latent follows the signal, for choosing some: the mean of ``best_states`` [R, L] over rollouts.

    A rollout in which a latent doesn't vary counts 0 for it; NaN where it varies in none.
    """
    known = np.isfinite(best)
    return np.where(known.any(0), np.where(known, best, 0.0).mean(0), np.nan)


def paired_largest(x: Array, y: Array, covariates: Array | None = None, *, strata: ArrayLike | None = None) -> Floats:
    """``largest`` of every rollout's features with every rollout's signals: all that permuting rollouts can give.

    Args:
        x: features [R, T, L].
        y: K signals with a column for each of S states [R, T, K, S].
        covariates: [R, T, C]; each rollout's features and signals are freed of its own, and what is left of the
            signals then of the features' rollout's, too. Without that a rollout's own signals would lie in the fewer
            dimensions that its covariates leave to its features, those of others in all, and chance alone would
            correlate the former more highly.
        strata: [R]; only rollouts of one stratum are paired, one stratum after the other. Time grows with the
            squares of their sizes, memory with the largest.

    Returns:
        pairs [R, R, K]; pairs[i, j] has the features of i and the signals of j, the diagonal is ``largest`` of
        ``state_correlation``. NaN across strata and where nothing varies.
    """
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    n_rollouts, _, n_signals, n_states = y.shape
    pairs = np.full((n_rollouts, n_rollouts, n_signals), np.nan)
    for rollouts in stratum_indices(strata, n_rollouts):
        given = None if covariates is None else torch.as_tensor(covariates)[rollouts]
        v, v_varies = within_rollouts(y[rollouts].flatten(2), given)
        signals, varies = v.transpose(0, 1).flatten(1), v_varies.flatten()  # [T, n K S], [n K S]
        size = max(1, CHUNK // len(varies))
        for place, rollout in enumerate(rollouts.tolist()):
            own = None if given is None else given[place : place + 1]
            u, u_varies = within_rollouts(x[rollout : rollout + 1], own)
            features = u[0].T[u_varies[0]]
            if len(features) == 0:
                continue
            others, known = signals, varies
            if own is not None:
                freed, left = within_rollouts(signals[None], own)
                others, known = freed[0], varies & left[0]
            best = torch.full((len(known),), -torch.inf, dtype=u.dtype, device=u.device)
            for first in range(0, len(features), size):
                best = torch.maximum(best, (features[first : first + size] @ others).amax(0))
            of_state = best.clamp(-1, 1).where(known, torch.nan).view(len(rollouts), n_signals, n_states)
            pairs[rollout, rollouts] = of_state.nanmean(2).cpu().numpy()
    return pairs


def within_rollouts(values: Array, covariates: Array | None = None) -> tuple[Tensor, Tensor]:
    """Values [R, T, F] centred and of length 1 in each rollout, in float64, and which vary [R, F].

    With covariates [R, T, C]: what least squares on them, rollout by rollout, leaves. What doesn't vary is 0.
    """
    raw = torch.as_tensor(values).double()
    mean = raw.mean(1, keepdim=True)
    left = raw - mean
    square = left.square().sum(1)
    varies = square > raw.shape[1] * (ROUNDING * mean[:, 0]).square()
    if covariates is not None:
        given, given_varies = within_rollouts(torch.as_tensor(covariates).to(left.device))
        given = given * given_varies[:, None, :]
        # twice: what is left of a nearly collinear column must be orthogonal to the covariates, not to rounding
        inverse = torch.linalg.pinv(given, rtol=1e-7)
        for _ in range(2):
            left = left - given @ (inverse @ left)
        varies &= left.square().sum(1) > RESIDUAL_SHARE * square
        square = left.square().sum(1)
    scale = torch.where(varies, square.clamp_min(torch.finfo(square.dtype).tiny).rsqrt(), 0.0)
    return left * scale[:, None, :], varies
