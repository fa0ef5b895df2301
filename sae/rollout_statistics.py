"""Correlations over rollouts: what holds when the rollout, and not the decision, is the unit of chance.

Arrays are latents z [R, T, L], signals y [R, T, S] and covariates [R, T, C] of R rollouts of T decisions
each. `strata` [R] names the task variant of each rollout: the design fixes how many rollouts a variant has,
so halves and permutations stay within it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import scipy.stats
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sae.correlation import Array, StreamingCorrelation
from sae.permutation_null import FamilyNull, permutation_null, standardised, stratum_indices

Floats = NDArray[np.float64]

CHUNK = 2**20
"""Numbers of the latents that are taken at once."""


class Interval(NamedTuple):
    """Confidence limits [L, S]; NaN where the correlation is."""

    low: Floats
    high: Floats


@dataclass(frozen=True)
class RolloutCorrelation:
    """Everything about the correlation of L latents with S signals in one block, each [L, S]."""

    r: Floats
    """Signed Pearson r over all decisions of all rollouts."""
    r_selection: Floats
    """r on the rollouts on which latents may be chosen."""
    r_heldout: Floats
    """r on the other rollouts, for scoring what was chosen."""
    heldout_low: Floats
    heldout_high: Floats
    """Confidence interval of r_heldout, clustered by rollout."""
    r_partial: Floats
    """r given the covariates."""
    r_partial_selection: Floats
    r_partial_heldout: Floats
    """The same on either half."""
    partial_low: Floats
    partial_high: Floats
    """Confidence interval of r_partial, clustered by rollout."""
    ci_low: Floats
    ci_high: Floats
    """Confidence interval of r, clustered by rollout."""
    null_mean: Floats
    null_sd: Floats
    """Moments of r when whole rollouts are permuted within strata."""
    z: Floats
    """(r - null_mean) / null_sd."""
    family: FamilyNull
    """The block's part of the family-wise null; merge over blocks before asking for p or q."""
    n: int
    """Decisions."""
    n_rollouts: int
    """Rollouts."""


def split_halves(strata: ArrayLike, *, seed: int) -> NDArray[np.bool_]:
    """Which rollouts [R] are for selecting latents; the others are held out.

    Halves differ by at most one rollout, in each stratum and in all. Raises ValueError for fewer than two.
    """
    strata = np.asarray(strata)
    if len(strata) < 2:
        raise ValueError("held-out halves need at least two rollouts")
    shuffled = np.random.default_rng(seed).permutation(len(strata))
    by_stratum = shuffled[np.argsort(strata[shuffled], kind="stable")]
    selection = np.zeros(len(strata), dtype=np.bool_)
    selection[by_stratum[::2]] = True
    return selection


def correlate(z: Array, y: Array, covariates: Array | None = None) -> StreamingCorrelation:
    """Correlation over the decisions of all given rollouts."""
    x, signals = torch.as_tensor(z).flatten(0, 1), torch.as_tensor(y).flatten(0, 1)
    given = None if covariates is None else torch.as_tensor(covariates).flatten(0, 1)
    correlation = StreamingCorrelation(x.shape[1], signals.shape[1], 0 if given is None else given.shape[1])
    correlation.update(x, signals, given)
    return correlation


def clustered_interval(
    z: Array, y: Array, *, strata: ArrayLike | None = None, confidence: float = 0.95, chunk: int = 256
) -> Interval:
    """Confidence interval of the pooled r, with rollouts as clusters.

    The influence of a decision on r is u v - r (u^2 + v^2) / 2 for standardised u, v; the sums of influence
    over rollouts give the variance of r however the decisions of a rollout depend on each other (the
    sandwich, with n / (n - 1) in each stratum). The interval is symmetric in atanh r and uses Student's t
    with R less the number of strata degrees of freedom. Latents are taken `chunk` at a time. Raises
    ValueError for a stratum of one rollout.
    """
    z, signals = torch.as_tensor(z), torch.as_tensor(y)
    n_rollouts, n_decisions, n_latents = z.shape
    groups = stratum_indices(strata, n_rollouts)
    if min(len(rollouts) for rollouts in groups) < 2:
        raise ValueError("a confidence interval by rollout needs at least two rollouts in each stratum")
    v = standardised(signals.to(z.device))  # [R, T, S]
    r = correlate(z, y).r
    variance = np.empty_like(r)
    for first in range(0, n_latents, chunk):
        u = standardised(z[:, :, first : first + chunk])
        here = torch.from_numpy(r[first : first + chunk]).to(z.device)
        squares = u.square().sum(1)[:, :, None] + v.square().sum(1)[:, None, :]
        influence = torch.bmm(u.transpose(1, 2), v) - here * squares / 2  # [R, L, S]
        total = torch.zeros_like(here)
        for rollouts in groups:
            size = len(rollouts)
            total += influence[rollouts].var(0, correction=1) * size
        variance[first : first + chunk] = (total / (n_rollouts * n_decisions) ** 2).cpu().numpy()
    quantile = scipy.stats.t.ppf((1 + confidence) / 2, n_rollouts - len(groups))
    with np.errstate(divide="ignore", invalid="ignore"):
        half = quantile * np.sqrt(variance) / (1 - r**2)
        low, high = np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half)
    exact = np.abs(r) > 1 - 1e-12  # a perfect correlation has no spread to estimate
    return Interval(np.where(exact, r, low), np.where(exact, r, high))


def residuals(x: Array, covariates: Array) -> torch.Tensor:
    """What is left of x [R, T, F] after least squares on the covariates [R, T, C] and a constant, float64.

    The correlation of residuals is the partial correlation.
    """
    x, given = torch.as_tensor(x).double(), torch.as_tensor(covariates).double().flatten(0, 1)
    design = torch.cat([torch.ones(len(given), 1, dtype=given.dtype), given - given.mean(0)], dim=1)
    rows = x.flatten(0, 1)
    left: torch.Tensor = rows - design @ (torch.linalg.pinv(design) @ rows)
    return left.reshape(x.shape)


def correlate_rollouts(
    z: Array,
    y: Array,
    *,
    covariates: Array,
    strata: ArrayLike,
    selection: NDArray[np.bool_],
    permutations: NDArray[np.int64],
    confidence: float = 0.95,
) -> RolloutCorrelation:
    """All statistics of one block at once.

    `selection` [R] is from `split_halves`, `permutations` [P, R] from `rollout_permutations`; give every
    block of an analysis the same two.
    """
    z = torch.as_tensor(z)
    n_rollouts, n_decisions, n_latents = z.shape
    size = latents_at_once(n_rollouts * n_decisions)
    return correlate_parts(
        (z[:, :, first : first + size] for first in range(0, max(1, n_latents), size)),
        y,
        covariates=covariates,
        strata=strata,
        selection=selection,
        permutations=permutations,
        confidence=confidence,
    )


def latents_at_once(n_decisions: int) -> int:
    """How many latents make `CHUNK` numbers, but one at least."""
    return max(1, CHUNK // n_decisions)


def correlate_parts(
    parts: Iterable[Tensor],
    y: Array,
    *,
    covariates: Array,
    strata: ArrayLike,
    selection: NDArray[np.bool_],
    permutations: NDArray[np.int64],
    confidence: float = 0.95,
) -> RolloutCorrelation:
    """As `correlate_rollouts`, of latents [R, T, l] that come some after the other; a few times their size is needed.

    There must be one part, which may have no latents.
    """
    y, covariates = torch.as_tensor(y), torch.as_tensor(covariates)
    chosen = torch.from_numpy(selection)
    left = residuals(y, covariates)

    def of(z: Tensor) -> RolloutCorrelation:
        pooled = correlate(z, y, covariates)
        halves = [correlate(z[half], y[half], covariates[half]) for half in (chosen, ~chosen)]
        interval = clustered_interval(z, y, strata=strata, confidence=confidence)
        heldout = clustered_interval(
            z[~chosen], y[~chosen], strata=np.asarray(strata)[~selection], confidence=confidence
        )
        partial = clustered_interval(residuals(z, covariates), left, strata=strata, confidence=confidence)
        undefined = np.isnan(pooled.partial_r)
        null = permutation_null(z, y, strata=strata, permutations=permutations)
        return RolloutCorrelation(
            r=pooled.r,
            r_selection=halves[0].r,
            r_heldout=halves[1].r,
            heldout_low=heldout.low,
            heldout_high=heldout.high,
            r_partial=pooled.partial_r,
            r_partial_selection=halves[0].partial_r,
            r_partial_heldout=halves[1].partial_r,
            partial_low=np.where(undefined, np.nan, partial.low),
            partial_high=np.where(undefined, np.nan, partial.high),
            ci_low=interval.low,
            ci_high=interval.high,
            null_mean=null.mean,
            null_sd=null.sd,
            z=null.z,
            family=null.family,
            n=pooled.n,
            n_rollouts=len(z),
        )

    return _joined([of(part) for part in parts])


def _joined(parts: Sequence[RolloutCorrelation]) -> RolloutCorrelation:
    """Of latents one after the other."""
    family, *others = (part.family for part in parts)
    for other in others:
        family.merge(other)
    names = [field.name for field in fields(RolloutCorrelation) if field.name not in ("family", "n", "n_rollouts")]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return RolloutCorrelation(**columns, family=family, n=parts[0].n, n_rollouts=parts[0].n_rollouts)
