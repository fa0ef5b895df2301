"""Correlation of features with matrix-valued signals, one column a state, rollout by rollout.

The protocol of Demircan et al. 2025 for graph learning (Fig 5D and E): in each rollout every live latent is correlated
with every state's column, the largest signed r over latents stands for the state, and the mean over states for the
rollout. States have other names in each rollout, so each rollout may have other latents. Features are taken one rollout
after the other: none needs more than its own in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae.correlation import RESIDUAL_SHARE, ROUNDING, Array

Floats = NDArray[np.float64]

CHUNK = 2**19
"""Numbers in the largest temporary array of a pairing."""


class Left(NamedTuple):
    """What is left of values when a rollout's covariates are held constant, in float64."""

    values: Tensor
    """Centred and of length 1, [T, F]; 0 where they don't vary."""
    varies: Tensor
    """[F]"""


class Held:
    """What is held constant within one rollout: covariates [T, C], or nothing but the mean."""

    def __init__(self, covariates: Array | None = None) -> None:
        self.nothing = covariates is None
        if covariates is not None:
            given, varies = Held().leaves(covariates)
            self._given = given * varies
            self._inverse = torch.linalg.pinv(self._given, rtol=1e-7)

    def leaves(self, values: Array) -> Left:
        """Of values [T, F] what least squares on the covariates leaves."""
        raw = torch.as_tensor(values).double()
        mean = raw.mean(0)
        left = raw - mean
        square = left.square().sum(0)
        varies = square > len(raw) * (ROUNDING * mean).square()
        if not self.nothing:
            # twice: what is left of a nearly collinear column must be orthogonal to the covariates, not to rounding
            for _ in range(2):
                left = left - self._given @ (self._inverse @ left)
            varies &= left.square().sum(0) > RESIDUAL_SHARE * square
            square = left.square().sum(0)
        scale = torch.where(varies, square.clamp_min(torch.finfo(square.dtype).tiny).rsqrt(), 0.0)
        return Left(left * scale, varies)


def state_correlation(x: Left, y: Left) -> Floats:
    """Signed r of features [T, L] with states [T, S] of one rollout, [L, S]; NaN where either doesn't vary.

    Both are what the same rollout's :class:`Held` leaves: with covariates r is the partial correlation.
    """
    r = (x.values.T @ y.values).clamp(-1, 1)
    r[~(x.varies[:, None] & y.varies)] = torch.nan
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


class LatentScores:
    """How closely each latent follows the signals, for choosing some: the mean of ``best_states`` over rollouts.

    A rollout in which a latent doesn't vary counts 0 for it; NaN where it varies in none.
    """

    def __init__(self, *shape: int) -> None:
        self._total = np.zeros(shape)
        self._known = np.zeros(shape, dtype=np.bool_)
        self._n = 0

    def add(self, best: Floats) -> None:
        """Take in the next rollout, of the shape given."""
        known = np.isfinite(best)
        self._total += np.where(known, best, 0.0)
        self._known |= known
        self._n += 1

    @property
    def mean(self) -> Floats:
        """Over the rollouts so far."""
        return np.where(self._known, self._total / max(self._n, 1), np.nan)


class PairedSignals:
    """The signals of n rollouts, as the features of each are paired with them: all that permuting rollouts can give.

    Each rollout's features and signals are freed of its own covariates, and what is left of the signals then of the
    features' rollout's, too. Without that a rollout's own signals would lie in the fewer dimensions that its covariates
    leave to its features, those of others in all, and chance alone would correlate the former more highly.

    Args:
        y: K signals with a column for each of S states of each rollout, n times [T, K, S].
        held: what is held constant in each.
    """

    def __init__(self, y: Sequence[Array], held: Sequence[Held]) -> None:
        n_decisions, n_signals, n_states = torch.as_tensor(y[0]).shape
        self._shape = (len(y), n_signals, n_states)
        width = n_signals * n_states
        values = torch.empty(n_decisions, len(y) * width, dtype=torch.float64)
        self._signals = Left(values, torch.empty(len(y) * width, dtype=torch.bool))
        for place, (one, own) in enumerate(zip(y, held, strict=True)):
            columns = slice(place * width, (place + 1) * width)
            values[:, columns], self._signals.varies[columns] = own.leaves(torch.as_tensor(one).flatten(1))

    def largest(self, x: Left, held: Held) -> Floats:
        """``largest`` of one rollout's features with the signals of each rollout, [n, K].

        Args:
            x: features [T, L], as ``held`` leaves them.
            held: what is held constant in the features' rollout.

        Returns:
            NaN where nothing varies. With its own signals: ``largest`` of ``state_correlation``.
        """
        features = x.values.T[x.varies]
        signals, varies = self._signals
        best = torch.full((len(varies),), torch.nan, dtype=signals.dtype, device=signals.device)
        size = max(1, CHUNK // max(1, *features.shape))
        for columns in (slice(first, first + size) for first in range(0, len(varies) if len(features) else 0, size)):
            others = Left(signals[:, columns], varies[columns])
            if not held.nothing:
                freed = held.leaves(others.values)
                others = Left(freed.values, others.varies & freed.varies)
            best[columns] = (features @ others.values).amax(0).clamp(-1, 1).where(others.varies, torch.nan)
        found: Floats = best.view(self._shape).nanmean(2).cpu().numpy()
        return found
