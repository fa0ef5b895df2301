"""Shares of the oracle on the same episodes, with 95 % intervals over episodes and trainings.

Episodes are one sample, and the trainings (seeds) of each policy another, which is small: three in the study. The error
of each is estimated from its own spread with Student's quantile for its own number, and the parts are added in squares,
as Banerjee (Sankhya A 23, 1961) does for a sum of independent means of unequal variances, where the interval covers at
least 95 %. The spread of trainings over a share of the same episodes holds some of the noise of single episodes, which
is then counted twice: wider still. A search that has learned nothing has no level of its own: its seeds are but
repeated draws, and their mean in each episode is what varies.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats

from jobs.report.head_ablation.searches import Floats, Found
from jobs.report.verdicts import Interval

Measure = Callable[[Found], Floats]
"""Of each seed in each episode, nats [S, E]."""


def share(found: Found, measure: Measure = Found.at_end) -> Interval:
    """Mean of a measure over the mean oracle of the same episodes, of which there can't be more than all."""
    values = measure(found)
    ours = _ratio(values.mean(0), found.oracle, [values.mean(1)] if found.learned else [])
    return Interval(ours.value, ours.low, min(ours.high, 1.0) if ours.known else ours.high)


def compare(first: Found | None, second: Found | None, measure: Measure) -> Interval | None:
    """Share of the first less that of the second, paired by episode; None where one was not evaluated.

    Of the episodes that both have; None, too, if there is none.
    """
    if first is None or second is None:
        return None
    common = tuple(one for one in first.episodes if one in second.episodes)
    if not common:
        return None
    a, b = first.on(common), second.on(common)
    values = measure(a), measure(b)
    trainings = [one.mean(1) for one, found in zip(values, (a, b), strict=True) if found.learned]
    return _ratio(values[0].mean(0) - values[1].mean(0), a.oracle, trainings)


def of_found(found: Found | None) -> Interval | None:
    """Share of the oracle that the best heads of whole episodes have."""
    return None if found is None or not found.episodes else share(found)


def _ratio(values: Floats, oracle: Floats, trainings: list[Floats]) -> Interval:
    """Mean over episodes to the mean oracle; not a number where no head matters: there is nothing to have a share of.

    Args:
        values: of each episode, mean over seeds [E].
        oracle: of each episode [E].
        trainings: means over episodes of each training [S], for each policy that is in the value.
    """
    scale = float(oracle.mean())
    if scale <= 0:
        return Interval(math.nan, math.nan, math.nan)
    value = float(values.mean()) / scale
    # of a ratio of means what varies is what each episode has more than its share of its own oracle
    samples = [(values - value * oracle) / scale, *[one / scale for one in trainings if len(one) > 1]]
    half = math.hypot(*[_half(sample) for sample in samples])
    return Interval(value, value - half, value + half)


def _half(sample: Floats) -> float:
    """Half of the 95 % interval of a mean; not a number for a single value."""
    if len(sample) < 2:
        return math.nan
    return float(stats.t.ppf(0.975, len(sample) - 1) * np.std(sample, ddof=1) / math.sqrt(len(sample)))
