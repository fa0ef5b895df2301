"""Slopes over the dose, and whether the whole pattern is more than a control's.

Each item has its own slope: least squares of its values over the doses at which it has one. Gold's slope less Mold's is
the item's **contrast**; the contrast under the trained model's vectors less that under a control's is the
**interaction**. Intervals are Student's over items, which are independent of each other and paired under all vectors.

Items share their vectors, so an interval over items says only that one vector differs from another. Where a model has
one direction along which all evaluations move, any vector has some of it, and does so. Random vectors are drawn
several times for that reason, and against them the draws are the sample: the trained vectors have to differ from random
ones by more than random ones do from each other.

All doses count in a slope, though effects at the largest are known not to be monotone in several models (Han et al.
2026, arXiv 2605.30232, D.6): nothing is chosen after it was seen. Controls needn't be flat; they must not have the same
pattern (D.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

Array = NDArray[np.float64]
FEWEST_DOSES = 3
"""At which an item must have values, on both sides of zero among them."""
CONCEPTS = {"gold": 1, "mold": -1}
"""Vectors, and the sign by which each counts in a contrast."""
CONTRAST = "contrast"
TRAINED, UNTRAINED, RANDOM = "trained", "untrained", "random"
INTERACTIONS = {f"{TRAINED} - {control}": control for control in (UNTRAINED, RANDOM)}
FEWEST_DRAWS = 3
"""Random draws below which nothing is said of random vectors."""


@dataclass(frozen=True)
class Interval:
    """A mean over items, and over draws where there are several."""

    value: float
    low: float
    high: float
    """95 %."""
    p: float
    """Two-sided, of zero."""
    n: int
    """Items."""


@dataclass(frozen=True)
class Contrast:
    """One quantity of one source, and the sign that is expected of it."""

    quantity: str
    """``gold``, ``mold``: slopes; ``contrast``: the one less the other."""
    source: str
    """Whose vectors: trained, untrained, random, or the difference of two of these."""
    expected: int
    interval: Interval

    @property
    def as_expected(self) -> bool:
        """Whether the interval lies on the expected side of zero."""
        bound = self.interval.low if self.expected > 0 else self.interval.high
        return self.expected * bound > 0


def interval(values: Array) -> Interval | None:
    """Mean over items with a 95 % interval [items]; NaN items are left out; None of fewer than two."""
    found = values[np.isfinite(values)]
    n = len(found)
    if n < 2:
        return None
    return _student(float(found.mean()), float(found.std(ddof=1) / np.sqrt(n)), n - 1, n)


def interval_over_draws(values: Array, *, further: bool) -> Interval | None:
    """Mean with a 95 % interval whose sample are the draws, Student's with one degree of freedom less than draws.

    SE^2 = SE_items^2 + s_draws^2 / K, or with (1 + 1 / K) where one more vector is compared with the mean of K random
    ones, as in a prediction interval. The spread of draws holds noise of the items, too, so it errs to the wide side.

    Args:
        values: [items, K]; items that lack a draw are left out.
        further: whether each value is the difference to one other vector, the same in all draws, which would be one
            more draw if it were random.

    Returns:
        None of fewer than three draws, or two items.
    """
    found = values[np.isfinite(values).all(axis=1)]
    n, draws = found.shape
    over_items = interval(found.mean(axis=1)) if draws >= FEWEST_DRAWS else None
    if over_items is None:
        return None
    of_items = float(found.mean(axis=1).var(ddof=1)) / n
    of_draws = float(found.mean(axis=0).var(ddof=1)) * (further + 1 / draws)
    return _student(over_items.value, float(np.sqrt(of_items + of_draws)), draws - 1, n)


def _student(mean: float, error: float, freedom: int, n: int) -> Interval:
    half = float(student.ppf(0.975, freedom)) * error
    score = abs(mean) / error if error else np.inf if mean else 0.0
    return Interval(mean, mean - half, mean + half, float(2 * student.sf(score, freedom)), n)


def item_means(replies: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Mean over the replies that have a value, items by doses; NaN where none has.

    Args:
        replies: rows of one vector with columns ``item``, ``dose`` and the measure's.
        measure: whose column.
    """
    return replies.pivot_table(index="item", columns="dose", values=measure, aggfunc="mean", dropna=False)


def slopes(doses: Array, values: Array) -> Array:
    """Each item's slope over the doses, by least squares [items].

    Args:
        doses: [D].
        values: [items, D]; NaN where there is none.

    Returns:
        NaN of items with too few doses left.
    """
    there = np.isfinite(values)
    n = there.sum(axis=1)
    enough = (n >= FEWEST_DOSES) & (there & (doses < 0)).any(axis=1) & (there & (doses > 0)).any(axis=1)
    x = np.where(there, doses, 0.0)
    centred = np.where(there, x - x.sum(axis=1, keepdims=True) / np.maximum(n, 1)[:, None], 0.0)
    found = np.full(len(values), np.nan)
    total = (centred * np.where(there, values, 0.0)).sum(axis=1)
    np.divide(total, (centred**2).sum(axis=1), out=found, where=enough)
    return found


def contrasts(slopes_of: Mapping[tuple[str, str, int], pd.Series], sign: int) -> list[Contrast]:
    """All quantities of one measure.

    Args:
        slopes_of: each item's slope (index: item), by source, concept and draw. Only random vectors have several draws;
            these are the sample of what is said of random vectors, and of fewer than three nothing is.
        sign: 1 or -1, how Gold's vector is expected to change the measure.
    """
    by_source: dict[str, dict[str, pd.DataFrame]] = {}
    for source in dict.fromkeys(source for source, _, _ in slopes_of):
        quantities = {}
        for concept in CONCEPTS:
            draws = {draw: found for (whose, of, draw), found in slopes_of.items() if (whose, of) == (source, concept)}
            if draws:
                quantities[concept] = pd.DataFrame(draws)
        if quantities.keys() == CONCEPTS.keys():
            quantities[CONTRAST] = quantities["gold"] - quantities["mold"]
        by_source[source] = quantities
    for name, control in INTERACTIONS.items():
        if TRAINED in by_source and control in by_source:
            own, other = by_source[TRAINED], by_source[control]
            by_source[name] = {
                quantity: -other[quantity].sub(own[quantity].iloc[:, 0], axis=0)
                for quantity in own
                if quantity in other
            }
    found = []
    for source, quantities in by_source.items():
        for quantity, table in quantities.items():
            values = table.to_numpy(np.float64)
            if source.endswith(RANDOM):
                measured = interval_over_draws(values, further=source in INTERACTIONS)
            else:
                measured = interval(values[:, 0])
            if measured is not None:
                found.append(Contrast(quantity, source, sign * CONCEPTS.get(quantity, 1), measured))
    return found


def pattern_found(trained: Mapping[str, Contrast | None], interactions: Mapping[str, Contrast | None]) -> bool:
    """Whether the whole pattern is there: in every evaluation contrast and interaction as expected, intervals off zero.

    The contrast itself counts, since an interaction is there as well where the trained vectors do nothing and the
    control does the reverse. That all must say so (an intersection-union test) keeps the error below that of each: no
    correction is needed.

    Args:
        trained: of every evaluation's first measure, the contrast under the trained model's vectors; None where there
            is none.
        interactions: the same contrast less that under a control's.
    """
    return bool(interactions) and all(
        one is not None and one.as_expected
        for name in trained.keys() | interactions.keys()
        for one in (trained.get(name), interactions.get(name))
    )
