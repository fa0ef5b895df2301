"""Shares of the oracle on the same episodes, with intervals over episodes and seeds.

An interval is a percentile bootstrap that draws episodes and, where there are several, seeds again (crossed): 95 %.
Of three seeds it allows for their spread but roughly; figures show each seed beside it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jobs.effects import resamples
from jobs.report.head_ablation.searches import Floats, Found
from jobs.report.verdicts import Interval

_EPISODES, _FIRST, _SECOND = 0, 1, 2
"""Seeds of the generators that draw episodes, and the seeds of the first and the second of two ways."""


def share(values: Floats, oracle: Floats, count: int) -> Interval:
    """Mean of scores over the mean oracle of the same episodes.

    Args:
        values: score of each seed in each episode, [S, E].
        oracle: of each episode, [E].
        count: of resamples.
    """
    episodes = resamples(len(oracle), count, _EPISODES)
    return _ratio(float(values.mean()), _means(values, episodes, _FIRST), oracle, episodes)


def difference(first: Floats, second: Floats, oracle: Floats, count: int) -> Interval:
    """Share of the first minus that of the second, paired by episode; the two have seeds of their own."""
    episodes = resamples(len(oracle), count, _EPISODES)
    drawn = _means(first, episodes, _FIRST) - _means(second, episodes, _SECOND)
    return _ratio(float(first.mean() - second.mean()), drawn, oracle, episodes)


def compare(
    first: Found | None, second: Found | None, count: int, measure: Callable[[Found], Floats]
) -> Interval | None:
    """Their difference in a measure, on the episodes that both have; None where one was not evaluated or none is."""
    if first is None or second is None:
        return None
    common = tuple(one for one in first.episodes if one in second.episodes)
    if not common:
        return None
    a, b = first.on(common), second.on(common)
    return difference(measure(a), measure(b), a.oracle, count)


def of_found(found: Found | None, count: int) -> Interval | None:
    """Share of the oracle that the best heads of whole episodes have."""
    return None if found is None or not found.episodes else share(found.at_end(), found.oracle, count)


def _means(values: Floats, episodes: Floats, seed: int) -> Floats:
    """Mean over seeds and episodes in each resample, [B]."""
    seeds = resamples(len(values), len(episodes), seed)
    means: Floats = np.einsum("bs,se,be->b", seeds, values, episodes, optimize=True) / values.size
    return means


def _ratio(value: float, drawn: Floats, oracle: Floats, episodes: Floats) -> Interval:
    """Of means to the mean oracle; not a number where no head matters, so that there is nothing to have a share of."""
    if oracle.mean() <= 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(drawn / (episodes @ oracle / len(oracle)), [0.025, 0.975])
    return Interval(value / float(oracle.mean()), float(low), float(high))
