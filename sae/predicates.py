"""How well single features tell what is true of their input: F1 against boolean predicates, with a null for the family.

A feature *fires* at the rows where it exceeds a threshold; F1 = 2 TP / (n_fired + n_true) compares these rows with
those where a predicate holds. The threshold of each feature and predicate is chosen on one half of the rows (the
selection) and scored on the other (held out). Trying thousands of features on hundreds of predicates finds some that
fit by chance, so the predicates' rows are also permuted against the features' rows, all predicates alike. At a
threshold n_fired and n_true stay what they are, and TP is hypergeometric:

    mean TP = n_fired n_true / N,  var TP = n_fired n_true (N - n_fired) (N - n_true) / N² (N - 1)

so z = (TP - mean) / sd, F1's distance from its mean in standard deviations, has exact moments, and the largest z over
all features, predicates and thresholds has an exact permutation p-value (Westfall and Young 1993). Rows must be
exchangeable for that: distinct inputs, say, and not one trajectory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
"""Beside 0, thresholds are these quantiles of a feature's positive values."""
CHUNK = 2**25
"""Numbers in the largest temporary array."""


@dataclass(frozen=True)
class PredicateScores:
    """Of each feature and predicate [F, P]. NaN where no test was made: see `score_predicates`."""

    threshold: Floats
    """The feature fires above it: that of the thresholds whose F1 on the selection lies farthest above chance."""
    f1: Floats
    """On the selection, where the threshold was chosen, so that it's somewhat too high."""
    f1_heldout: Floats
    ci_low: Floats
    """Limits of `f1_heldout`: see `f1_interval`."""
    ci_high: Floats
    precision: Floats
    """Held out; NaN where the feature never fires."""
    recall: Floats
    """Held out."""
    n_true: NDArray[np.int64]
    """Rows of both halves where the predicate holds."""
    n_fired: NDArray[np.int64]
    """Rows of both halves where the feature fires; 0 where no test was made."""
    z: Floats
    """Of F1 on the selection, under permutations."""
    p_familywise: Floats
    """Probability that permuted predicates give any test of the family so high a z."""
    null_mean: Floats
    """Mean F1 on the selection under permutations."""
    null_threshold: Floats
    """F1 on the selection that has p_familywise <= alpha if it is exceeded; may lie above 1, which nothing exceeds."""
    max_z: Floats
    """The largest z of the family under each permutation [n_permutations]."""
    n_tests: int
    """Features, predicates and thresholds that were tried."""

    @property
    def clear(self) -> Floats:
        """F1 on the selection above chance: see `above_chance`."""
        return above_chance(self.f1, self.null_mean)


def random_half(n: int, seed: int) -> Bools:
    """Which of n rows are the selection: every second one, in an order drawn with `seed`."""
    half = np.zeros(n, dtype=np.bool_)
    half[np.random.default_rng(seed).permutation(n)[: n // 2]] = True
    return half


def score_predicates(
    z: ArrayLike | Tensor,
    predicates: ArrayLike | Tensor,
    selection: ArrayLike | Tensor,
    *,
    quantiles: Sequence[float] = QUANTILES,
    n_permutations: int = 100,
    seed: int = 0,
    alpha: float = 0.05,
    confidence: float = 0.95,
    fewest: int = 10,
) -> PredicateScores:
    """Score every feature against every predicate.

    Args:
        z: features [N, F]; one whose negative values matter is given twice, the second time negated.
        predicates: what holds at each row, bool [N, P].
        selection: rows on which thresholds are chosen and the null is drawn, bool [N], as of `random_half`.
        quantiles: of a feature's positive values on the selection; each is a threshold, and so is 0.
        fewest: a test needs so many rows of the selection where the feature fires and where it doesn't, and where the
            predicate holds and where it doesn't: z of rarer ones is far from normal, and they would set the bar.

    Raises:
        ValueError: shapes that don't fit, features that aren't finite, quantiles outside [0, 1), an empty half, or
            too few permutations for `alpha`.
    """
    features, holds = torch.as_tensor(z).float(), torch.as_tensor(predicates)
    half = torch.as_tensor(selection)
    _check(features, holds, half, quantiles, n_permutations, alpha)
    truth = holds.float()
    selected, n = features[half], int(half.sum())
    thresholds = _thresholds(selected, quantiles)  # [F, T]
    both, fired = _counts(selected, truth[half], thresholds)  # [F, T, P], [F, T]
    held = truth[half].sum(0)  # [P]
    testable = (_between(fired, fewest, n)[:, :, None] & _between(held, fewest, n)).numpy()
    mean, sd = _moments(fired, held, n)
    max_z = _largest_z(selected, truth[half], thresholds, fewest, n_permutations, seed)
    critical = np.sort(max_z)[-int(alpha * (n_permutations + 1))]
    size = (fired[:, :, None] + held).double().numpy()
    f1 = np.where(testable, 2 * both.double().numpy() / size, np.nan)
    by_chance = 2 * mean.double().numpy() / size
    best = np.where(testable, above_chance(f1, by_chance), -np.inf).argmax(1)[:, None]  # [F, 1, P]
    tested = testable.any(1)

    def chosen(values: Tensor | Floats) -> Floats:
        """Those of [F, T, P] at the threshold chosen, [F, P]."""
        whole = np.broadcast_to(np.asarray(values, dtype=np.float64), testable.shape)
        return np.where(tested, np.take_along_axis(whole, best, 1)[:, 0], np.nan)

    observed = chosen((both - mean) / sd)
    below = np.searchsorted(np.sort(max_z), observed)
    both_out, fired_out = _counts(features[~half], truth[~half], thresholds)
    hits, fires = chosen(both_out), chosen(fired_out[:, :, None])
    holds_out = truth[~half].sum(0).double().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = f1_interval(hits, fires + holds_out - 2 * hits, confidence)
        return PredicateScores(
            threshold=chosen(thresholds[:, :, None]),
            f1=chosen(f1),
            f1_heldout=2 * hits / (fires + holds_out),
            ci_low=low,
            ci_high=high,
            precision=hits / fires,
            recall=hits / holds_out,
            n_true=np.broadcast_to(truth.double().sum(0).numpy(), tested.shape).astype(np.int64),
            n_fired=np.where(tested, chosen(fired[:, :, None]) + fires, 0).astype(np.int64),
            z=observed,
            p_familywise=np.where(tested, (1 + n_permutations - below) / (1 + n_permutations), np.nan),
            null_mean=chosen(by_chance),
            null_threshold=chosen(2 * (mean + critical * sd).double().numpy() / size),
            max_z=max_z,
            n_tests=int(testable.sum()),
        )


def above_chance(f1: Floats, null_mean: Floats) -> Floats:
    """F1 corrected for chance: 0 for a feature that fires as often at random, 1 for a perfect one.

    A feature that always fires has a high F1 with whatever is mostly true; this tells it from one that sees.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((f1 - null_mean) / (1 - null_mean))


def f1_interval(hits: Floats, misses: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Confidence limits of F1 = 2 hits / (2 hits + misses), misses being those of either kind; NaN without either.

    Of the rows where the feature fires or the predicate holds the share J of hits is binomial, and F1 = 2 J / (1 + J)
    rises with it; Wilson's limits of J are carried over.
    """
    low, high = wilson(hits, np.asarray(hits) + misses, confidence)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def wilson(hits: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Confidence limits of a share, hits of n (Wilson 1927); NaN where n is 0."""
    hits, n = np.asarray(hits, dtype=np.float64), np.asarray(n, dtype=np.float64)
    quantile = scipy.stats.norm.ppf((1 + confidence) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        share, unit = hits / n, quantile**2 / n
        half = np.sqrt(unit * share * (1 - share) + unit**2 / 4)
        low, high = (np.clip((share + unit / 2 + side * half) / (1 + unit), 0, 1) for side in (-1, 1))
    return low, high


def _check(
    features: Tensor,
    holds: Tensor,
    half: Tensor,
    quantiles: Sequence[float],
    n_permutations: int,
    alpha: float,
) -> None:
    if features.ndim != 2 or holds.ndim != 2 or not len(features) == len(holds) == len(half) or half.ndim != 1:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (features, holds, half))
        raise ValueError(f"expected features [N, F], predicates [N, P] and a selection [N], not {shapes}")
    if holds.dtype != torch.bool or half.dtype != torch.bool:
        raise ValueError("predicates and selection must be boolean")
    if not bool(torch.isfinite(features).all()):
        raise ValueError("the features hold a number that is not finite")
    if not 0 < int(half.sum()) < len(half):
        raise ValueError("the selection must hold some of the rows and leave some")
    if not all(0 <= quantile < 1 for quantile in quantiles):
        raise ValueError(f"quantiles must be at least 0 and below 1: {list(quantiles)}")
    if int(alpha * (n_permutations + 1)) < 1:
        raise ValueError(f"{n_permutations} permutations can't show p <= {alpha}: take {int(np.ceil(1 / alpha)) - 1}")


def _thresholds(z: Tensor, quantiles: Sequence[float]) -> Tensor:
    """0 and quantiles of the positive values of each feature [F, T]; 0 again for a feature without."""
    found = torch.zeros(z.shape[1], 1 + len(quantiles))
    for feature, values in enumerate(z.T.numpy()):
        positive = values[values > 0]
        if len(positive):
            found[feature, 1:] = torch.from_numpy(np.quantile(positive, quantiles))
    return found


def _fires(z: Tensor, thresholds: Tensor) -> Tensor:
    """Whether each feature exceeds each of its thresholds at each row, 0 or 1, float32 [F T, N]."""
    return (z.T.contiguous()[:, None] > thresholds[:, :, None]).flatten(0, 1).float()


def _parts(z: Tensor, thresholds: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Features and thresholds a few at a time."""
    size = max(1, CHUNK // max(1, len(z) * thresholds.shape[1]))
    return zip(torch.split(z, size, dim=1), torch.split(thresholds, size), strict=True)


def _counts(z: Tensor, truth: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor]:
    """Rows where a feature fires and a predicate holds [F, T, P], and where it fires [F, T]; exact in float32."""
    parts = [(fires @ truth, fires.sum(1)) for fires in (_fires(*part) for part in _parts(z, thresholds))]
    both, fired = (torch.cat(column) for column in zip(*parts, strict=True))
    return both.view(*thresholds.shape, truth.shape[1]), fired.view(thresholds.shape)


def _between(counts: Tensor, fewest: int, n: int) -> Tensor:
    """Whether there are enough rows of either kind, of n."""
    return (counts >= max(1, fewest)) & (n - counts >= max(1, fewest))


def _moments(fired: Tensor, held: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [..., P] of the rows in both, given those of each [...] and [P] of n."""
    a, b = fired.double()[..., None], held.double()
    return (a * b / n).float(), (a * b * (n - a) * (n - b) / (n**2 * max(1, n - 1))).sqrt().float()


def _largest_z(z: Tensor, truth: Tensor, thresholds: Tensor, fewest: int, n_permutations: int, seed: int) -> Floats:
    """Largest z of all tests under each permutation of the predicates' rows [n_permutations]."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(z), generator=generator) for _ in range(n_permutations)]
    truth = truth[:, _between(truth.sum(0), fewest, len(z))]
    largest = torch.full((n_permutations,), -torch.inf)
    for part in _parts(z, thresholds):
        fires = _fires(*part)
        fires = fires[_between(fires.sum(1), fewest, len(z))]
        if not fires.numel() or not truth.numel():
            continue
        mean, sd = _moments(fires.sum(1), truth.sum(0), len(z))
        for index, order in enumerate(orders):
            largest[index] = max(largest[index], ((fires @ truth[order] - mean) / sd).max())
    return largest.double().numpy()
