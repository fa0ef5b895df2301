"""What a published latent follows: its correlations with learning signals, and what the step alone explains of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from sae.correlation import ROUNDING
from sae.rollout_statistics import clustered_interval, correlate, residuals

Floats = NDArray[np.float64]

CLOCKS = ("step", "log_step")
"""Signals that say nothing but how far a run has come."""


@dataclass(frozen=True)
class Measure:
    """One correlation over R runs."""

    signal: str
    name: str
    """``r``: all decisions of all runs together; ``r[standard 1]``: of one run; ``r_run_mean``: the runs' mean;
    ``r_other_run``: with the signal of the variant's next run; ``r_partial[a,b]``: given a and b; ``signal_r[step]``:
    of the signal itself with the step."""
    value: float
    low: float | None
    high: float | None
    """95 % interval over runs."""
    n_rollouts: int


def measures(
    latent: Floats,
    signals: Mapping[str, Floats],
    runs: Sequence[tuple[str, int]],
    names: Sequence[str],
    covariates: Sequence[str],
) -> Iterator[Measure]:
    """Every correlation of a latent that is defined.

    A latent and signals scaled within each run keep the correlation of a run, but not the pooled one: the runs' own
    levels and spreads are lost.

    Args:
        latent: its activation at T decisions of R runs, [R, T].
        signals: signals and covariates by name, each [R, T].
        runs: variant and number of each run; every variant has two or more, one after the other.
        names: the signals to correlate.
        covariates: what the study's own partial correlations hold constant.
    """
    n, variants = len(runs), [variant for variant, _ in runs]
    given = dict.fromkeys([(clock,) for clock in CLOCKS] + [CLOCKS, tuple(covariates)])
    for name in names:
        y = signals[name]
        yield Measure(name, "r", *_pooled(latent, y, variants), n)
        each = [_r(z, s) for z, s in zip(latent, y, strict=True)]
        for (variant, number), r in zip(runs, each, strict=True):
            if np.isfinite(r):
                yield Measure(name, f"r[{variant} {number}]", r, None, None, 1)
        if np.isfinite(each).all():
            yield Measure(name, "r_run_mean", *_mean(np.array(each)), n)
        yield Measure(name, "r_other_run", _r(latent, y[_next_run(variants)]), None, None, n)
        for held in given:
            controls = np.stack([signals[covariate] for covariate in held], axis=2)
            value = correlate(latent[:, :, None], y[:, :, None], controls).partial_r.item()
            if np.isfinite(value):
                z, left = (residuals(part[:, :, None], controls).numpy()[:, :, 0] for part in (latent, y))
                yield Measure(name, f"r_partial[{','.join(held)}]", value, *_pooled(z, left, variants)[1:], n)
        for clock in CLOCKS:
            if name not in CLOCKS:
                yield Measure(name, f"signal_r[{clock}]", *_pooled(y, signals[clock], variants), n)


def _pooled(z: Floats, y: Floats, strata: Sequence[str]) -> tuple[float, float, float]:
    """r over all decisions, with its interval over runs."""
    interval = clustered_interval(z[:, :, None], y[:, :, None], strata=strata)
    return _r(z, y), interval.low.item(), interval.high.item()


def _r(z: Floats, y: Floats) -> float:
    """Over all entries; NaN where either is constant."""
    if min(np.ptp(z), np.ptp(y)) <= ROUNDING:
        return float("nan")
    return float(np.corrcoef(z.ravel(), y.ravel())[0, 1])


def _mean(values: Floats) -> tuple[float, float, float]:
    """Mean with its interval by Student's t."""
    mean = float(values.mean())
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, mean, scipy.stats.sem(values))
    return mean, float(low), float(high)


def _next_run(variants: Sequence[str]) -> NDArray[np.int64]:
    """For each run the next one of its variant, after the last the first."""
    order = np.arange(len(variants))
    for variant in dict.fromkeys(variants):
        mine = np.flatnonzero(np.array(variants) == variant)
        order[mine] = np.roll(mine, -1)
    return order
