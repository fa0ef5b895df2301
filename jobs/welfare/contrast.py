"""Slopes over the dose, and whether the whole pattern is more than a control's.

Each item has its own slope: least squares of its values over the doses at which it has one. Gold's slope less Mold's is
the item's **contrast**; the contrast under the trained model's vectors less that under a control's is the
**interaction**. Intervals are Student's over items, which are independent of each other and paired under all vectors.

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


@dataclass(frozen=True)
class Interval:
    """A mean over items."""

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
    mean, error = float(found.mean()), float(found.std(ddof=1) / np.sqrt(n))
    half = float(student.ppf(0.975, n - 1)) * error
    score = abs(mean) / error if error else np.inf if mean else 0.0
    p = float(2 * student.sf(score, n - 1))
    return Interval(mean, mean - half, mean + half, p, n)


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
        slopes_of: each item's slope (index: item), by source, concept and draw. Random draws are averaged item by item:
            the interval says nothing of other draws.
        sign: 1 or -1, how Gold's vector is expected to change the measure.
    """
    by_source: dict[str, dict[str, pd.Series]] = {}
    for source in dict.fromkeys(source for source, _, _ in slopes_of):
        quantities = {}
        for concept in CONCEPTS:
            draws = [found for (whose, of, _), found in slopes_of.items() if (whose, of) == (source, concept)]
            if draws:
                quantities[concept] = pd.concat(draws, axis=1).mean(axis=1, skipna=False)
        if quantities.keys() == CONCEPTS.keys():
            quantities[CONTRAST] = quantities["gold"] - quantities["mold"]
        by_source[source] = quantities
    for name, control in INTERACTIONS.items():
        if TRAINED in by_source and control in by_source:
            own, other = by_source[TRAINED], by_source[control]
            by_source[name] = {quantity: own[quantity] - other[quantity] for quantity in own if quantity in other}
    found = []
    for source, quantities in by_source.items():
        for quantity, values in quantities.items():
            measured = interval(values.to_numpy(np.float64))
            if measured is not None:
                found.append(Contrast(quantity, source, sign * CONCEPTS.get(quantity, 1), measured))
    return found


def pattern_found(interactions: Mapping[str, Contrast | None]) -> bool:
    """Whether the whole pattern is there: in every evaluation an interaction as expected, its 95 % interval off zero.

    That all must say so (an intersection-union test) keeps the error below that of each: no correction is needed.

    Args:
        interactions: of every evaluation's first measure; None where there is none.
    """
    return bool(interactions) and all(found is not None and found.as_expected for found in interactions.values())
