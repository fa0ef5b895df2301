"""The null that RL correlations need: whole rollouts permuted, the step within the rollout kept.

Signals of learning have trends, so they correlate with any latent that follows the step index; and decisions
of one rollout depend on each other, so counting decisions finds structure in noise. Permuting whole rollouts
within strata keeps both, and destroys only what ties a latent to the signal of its own rollout.

Write u, v for a latent and a signal standardised over all N decisions, and split each into its mean over the
rollouts of a stratum at each step and the rest, u' and v'. No permutation within strata changes the part of r
that comes from the means. With K[i,j] = sum over steps of u'[i] v'[j] for rollouts i, j of one stratum,

    r_p = base + sum_i K[i, p(i)] / N
    mean r_p = base
    var r_p = sum over strata of sum K^2 / (n - 1) / N^2

both moments exact over all permutations. K costs what n permutations would, and then a permutation costs a
sum of R numbers in place of N products. z_p = (r_p - base) / sd; the identity is one of the permutations, so
the largest |z| over any family of tests has an exact permutation p-value (Westfall and Young 1993).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sae.correlation import Array

Floats = NDArray[np.float64]

BINS = 4096
BINS_PER_UNIT = 64
"""The histogram of |z| has bins of 1/64 up to 64; larger ones fall into the last bin."""
CHUNK = 2**23
"""Numbers in the largest temporary array."""
CONSTANT_SHARE = 1e-12
"""With less than this share of its variance left in u', a variable is the same in every rollout."""


class FamilyNull:
    """The null distribution of a family of tests: mergeable over blocks that saw the same permutations."""

    def __init__(self, z: Floats, null_max: Floats, null_histogram: NDArray[np.int64], key: int) -> None:
        """From observed z [L, S], and over P permutations the largest |z| [P] and the histogram of |z|."""
        observed = np.abs(z[np.isfinite(z)])
        self.n_tests = observed.size
        self.max_z: Floats = np.concatenate([[observed.max(initial=0.0)], null_max])
        """Largest |z| over the family [P + 1], the observed one first."""
        self.observed = np.bincount(_bin(observed), minlength=BINS)
        """Histogram of the observed |z| [BINS]."""
        self.pooled = null_histogram + self.observed
        """Histogram of |z| over all permutations, the identity included [BINS]."""
        self._key = key

    def merge(self, other: FamilyNull) -> None:
        """Take in another block. Raises ValueError where it used other permutations."""
        if other._key != self._key:
            raise ValueError("only nulls of the same permutations can be merged")
        self.n_tests += other.n_tests
        self.max_z = np.maximum(self.max_z, other.max_z)
        self.observed = self.observed + other.observed
        self.pooled = self.pooled + other.pooled

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything that merging needs, for a safetensors file."""
        return {
            "max_z": torch.from_numpy(self.max_z),
            "observed": torch.from_numpy(self.observed),
            "pooled": torch.from_numpy(self.pooled),
            "permutations": torch.tensor(self._key),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> FamilyNull:
        """What :meth:`to_tensors` wrote."""
        observed, pooled = tensors["observed"].numpy(), tensors["pooled"].numpy()
        max_z = tensors["max_z"].numpy()
        null = cls(max_z[:1], max_z[1:], pooled - observed, int(tensors["permutations"]))
        null.n_tests, null.observed, null.pooled = int(observed.sum()), observed, pooled
        return null

    def p_familywise(self, z: ArrayLike) -> Floats:
        """Share of permutations in which some test of the family reaches |z|; at least 1 / (P + 1)."""
        z = np.abs(np.asarray(z, dtype=np.float64))
        reached = len(self.max_z) - np.searchsorted(np.sort(self.max_z), z, side="left")
        # the identity reaches every |z| of its own family, whatever the last bit says
        return np.where(np.isnan(z), np.nan, np.maximum(reached, 1) / len(self.max_z))

    def threshold_z(self, alpha: float = 0.05) -> float:
        """The |z| above which (strictly) p_familywise <= alpha.

        With fewer than 1 / alpha permutations nothing lies above it.
        """
        allowed = int(np.floor(alpha * len(self.max_z) * (1 + 1e-12)))
        return float(np.sort(self.max_z)[len(self.max_z) - 1 - allowed])

    def q_value(self, z: ArrayLike) -> Floats:
        """Expected share of false findings among the tests with at least this |z|, from the pooled null.

        Never below 1 / (P + 1), never falling as |z| falls; |z| is resolved to 1/64.
        """
        z = np.abs(np.asarray(z, dtype=np.float64))
        found = _tail(self.observed)
        expected = _tail(self.pooled) / len(self.max_z)
        share = np.minimum(1.0, np.divide(expected, found, out=np.ones(BINS), where=found > 0))
        q = np.minimum.accumulate(share)
        known = np.nan_to_num(z)
        return np.where(np.isnan(z), np.nan, q[_bin(known)])


class PermutationNull(NamedTuple):
    """Null moments and standardised correlations of one block, each [L, S], and its part of the family.

    z is NaN, and no test is counted, where the latent or the signal is the same in every rollout of a stratum
    (or does not vary at all): permuting rollouts then changes nothing.
    """

    mean: Floats
    sd: Floats
    z: Floats
    family: FamilyNull


def stratum_indices(strata: ArrayLike | None, n_rollouts: int) -> list[Tensor]:
    """The rollouts of each stratum; without strata, all in one. Raises ValueError for a wrong length."""
    names = np.zeros(n_rollouts, dtype=np.int64) if strata is None else np.asarray(strata)
    if names.shape != (n_rollouts,):
        raise ValueError(f"strata must have shape [{n_rollouts}], one for each rollout, not {list(names.shape)}")
    return [torch.from_numpy(np.flatnonzero(names == name)) for name in np.unique(names)]


def rollout_permutations(strata: ArrayLike, n_permutations: int, *, seed: int) -> NDArray[np.int64]:
    """Permutations of rollouts within strata [P, R], drawn uniformly; the null itself adds the identity."""
    strata = np.asarray(strata)
    generator = np.random.default_rng(seed)
    permutations = np.tile(np.arange(len(strata)), (n_permutations, 1))
    for rollouts in stratum_indices(strata, len(strata)):
        columns = rollouts.numpy()
        permutations[:, columns] = generator.permuted(permutations[:, columns], axis=1)
    return permutations


def permutation_null(
    z: Array, y: Array, *, strata: ArrayLike | None = None, permutations: NDArray[np.int64]
) -> PermutationNull:
    """Null of the pooled r of latents z [R, T, L] with signals y [R, T, S] under permuted rollouts [P, R].

    Observed values are in float64, the rest in float32. Temporary memory is a few times `CHUNK` numbers, and
    at least those of the signals. Raises ValueError where the permutations leave the strata.
    """
    latents = torch.as_tensor(z)
    n_rollouts, n_decisions, n_latents = latents.shape
    groups = stratum_indices(strata, n_rollouts)
    places = [torch.from_numpy(one).to(latents.device) for one in _places(permutations, groups)]
    n = n_rollouts * n_decisions
    v, v_rest = _split(torch.as_tensor(y).to(latents.device), groups)
    n_signals = v.shape[2]
    mean, sd, observed = (np.empty((n_latents, n_signals)) for _ in range(3))
    null_max = np.zeros(len(permutations))
    histogram = np.zeros(BINS, dtype=np.int64)
    step = max(1, min(CHUNK // (n_signals * max(map(len, groups)) ** 2), CHUNK // n))
    for first in range(0, n_latents, step):
        here = slice(first, first + step)
        u, u_rest = _split(latents[:, :, here], groups)
        c = torch.einsum("rtl,rts->ls", u_rest, v_rest) / n
        permuted, variance = _permuted(u_rest.float(), v_rest.float(), groups, places)
        spread = (variance.double().sqrt() / n).view_as(c)
        mean[here] = (torch.einsum("rtl,rts->ls", u, v) / n - c).cpu().numpy()
        sd[here] = spread.cpu().numpy()
        observed[here] = torch.where(spread > 0, c / spread, torch.nan).cpu().numpy()
        weight = torch.where(variance > 0, variance.rsqrt(), 0.0)
        permuted.mul_(weight).abs_()
        null_max = np.maximum(null_max, permuted.amax(1).cpu().numpy())
        bins = permuted.mul_(BINS_PER_UNIT).clamp_max_(BINS - 1).int().flatten()
        histogram += torch.bincount(bins, minlength=BINS).cpu().numpy()
        # Pairs without a test came out as z = 0; they are not part of the family.
        histogram[0] -= int((variance == 0).sum()) * len(permutations)
    key = zlib.crc32(permutations.tobytes())
    return PermutationNull(mean, sd, observed, FamilyNull(observed, null_max, histogram, key))


def _places(permutations: NDArray[np.int64], groups: list[Tensor]) -> list[NDArray[np.int64]]:
    """For each stratum the place in it of the rollout that is permuted to each of its own [P, n]."""
    places = []
    for rollouts in groups:
        columns = rollouts.numpy()
        chosen = permutations[:, columns]
        if not (np.sort(chosen, axis=1) == columns).all():
            raise ValueError("the permutations move rollouts between strata")
        places.append(np.searchsorted(columns, chosen))
    return places


def _permuted(u_rest: Tensor, v_rest: Tensor, groups: list[Tensor], places: list[Tensor]) -> tuple[Tensor, Tensor]:
    """N r_p less its mean over permutations [P, L * S], and N^2 times the variance of r_p [L * S].

    K is computed for as many rollouts of a stratum at once as fit into `CHUNK`.
    """
    n_latents, n_signals, n_decisions = u_rest.shape[2], v_rest.shape[2], u_rest.shape[1]
    permuted = u_rest.new_zeros(len(places[0]), n_latents * n_signals)
    variance = u_rest.new_zeros(n_latents * n_signals)
    for rollouts, chosen in zip(groups, places, strict=True):
        size = len(rollouts)
        v = v_rest[rollouts].transpose(0, 1).reshape(n_decisions, size * n_signals)
        rows = max(1, CHUNK // (size * n_latents * n_signals))
        for first in range(0, size, rows):
            some = rollouts[first : first + rows]
            u = u_rest[some].transpose(1, 2).reshape(len(some) * n_latents, n_decisions)
            products = (u @ v).view(len(some), n_latents, size, n_signals).transpose(1, 2)
            products = products.reshape(len(some) * size, n_latents * n_signals)
            pairs = torch.arange(len(some), device=u.device) * size + chosen[:, first : first + rows]
            permuted += torch.nn.functional.embedding_bag(pairs, products, mode="sum")
            if size > 1:
                variance += torch.linalg.vector_norm(products, dim=0).square() / (size - 1)
    return permuted, variance


def standardised(values: Tensor) -> Tensor:
    """Values [R, T, K] at mean 0 and variance 1 over all decisions, in float64; 0 where they do not vary."""
    centred = values.double() - values.double().mean((0, 1))
    varies = values.amax((0, 1)) > values.amin((0, 1))
    return torch.where(varies, centred / centred.square().mean((0, 1)).sqrt(), 0.0)


def _split(values: Tensor, groups: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Values [R, T, K] standardised, and what is left without their mean over each stratum.

    What is left is exactly 0 in a stratum whose rollouts all have the same values.
    """
    u = standardised(values)
    rest = torch.empty_like(u)
    for rollouts in groups:
        left = u[rollouts] - u[rollouts].mean(0)
        rest[rollouts] = left * (left.square().mean((0, 1)) > CONSTANT_SHARE)
    return u, rest


def _bin(z: Floats) -> NDArray[np.int64]:
    return np.minimum(z * BINS_PER_UNIT, BINS - 1).astype(np.int64)


def _tail(histogram: NDArray[np.int64]) -> Floats:
    """Number of entries in each bin or above."""
    return np.cumsum(histogram[::-1])[::-1].astype(np.float64)
