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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

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
QUANTITIES = {**{concept: {concept: 1} for concept in CONCEPTS}, CONTRAST: CONCEPTS}
"""Sums of slopes: of which vectors, each with its weight."""
TRAINED, UNTRAINED, RANDOM = "trained", "untrained", "random"
INTERACTIONS = {f"{TRAINED} - {control}": control for control in (UNTRAINED, RANDOM)}
FEWEST_DRAWS = 3
"""Random draws below which nothing is said of random vectors."""
LEAST = 0.5
"""Share of the items that must have a value."""
ROUNDING = 1e-12
"""Of a mean: an error below it is that of float64."""


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
    """Mean over items with a 95 % interval [items]; NaN items are left out.

    Returns:
        None of fewer than two items, or as `_student` says.
    """
    found = values[np.isfinite(values)]
    n = len(found)
    if n < 2:
        return None
    return _student(float(found.mean()), float(found.std(ddof=1) / np.sqrt(n)), n, n)


def interval_over_draws(values: Array, *, further: bool) -> Interval | None:
    """Mean with a 95 % interval whose sample are the draws, Student's with one degree of freedom less than draws.

    SE^2 = SE_items^2 + s_draws^2 / K, or with (1 + 1 / K) where one more vector is compared with the mean of K random
    ones, as in a prediction interval. The spread of draws holds noise of the items, too, so it errs to the wide side.
    Draws of which fewer than half of the items have a value are left out: what is said is of those that leave replies
    coherent.

    Args:
        values: [items, K].
        further: whether each value is the difference to one other vector, which would be one more draw if it were
            random.

    Returns:
        None of fewer than three draws, or two items, or as `_student` says.
    """
    kept = values[:, np.isfinite(values).mean(axis=0) >= LEAST]
    kept = kept[np.isfinite(kept).any(axis=1)]
    n, draws = kept.shape
    if n < 2 or draws < FEWEST_DRAWS:
        return None
    items, means = np.nanmean(kept, axis=1), np.nanmean(kept, axis=0)
    variance = float(items.var(ddof=1)) / n + float(means.var(ddof=1)) * (further + 1 / draws)
    return _student(float(items.mean()), float(np.sqrt(variance)), draws, n)


def _student(mean: float, error: float, sample: int, n: int) -> Interval | None:
    """Student's interval; where nothing varies, one of no width, if the sample is large enough to rule out chance.

    A sample that is all the same, and not zero, has the p-value of a sign test: that a few agree is no certainty.
    """
    if error > ROUNDING * abs(mean):
        half = float(student.ppf(0.975, sample - 1)) * error
        return Interval(mean, mean - half, mean + half, float(2 * student.sf(abs(mean) / error, sample - 1)), n)
    p = min(1.0, 2.0 ** (1 - sample)) if mean else 1.0
    return None if mean and p > 0.05 else Interval(mean, mean, mean, p, n)


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
    # a constant is exactly flat only if it is taken off before it is summed up
    first = np.take_along_axis(values, there.argmax(axis=1, keepdims=True), axis=1)
    level = np.where(there, values - first, 0.0)
    centred = np.where(there, x - x.sum(axis=1, keepdims=True) / np.maximum(n, 1)[:, None], 0.0)
    found = np.full(len(values), np.nan)
    total = (centred * level).sum(axis=1)
    np.divide(total, (centred**2).sum(axis=1), out=found, where=enough)
    return found


def contrasts(values_of: Mapping[tuple[str, str, int], pd.DataFrame], sign: int) -> list[Contrast]:
    """All quantities of one measure.

    Steering may leave an item without a coherent reply at some doses, under one vector and not under another. Slopes
    that are subtracted are therefore of the same doses: of each item those at which all vectors in question have a
    value. A quantity that fewer than half of the items have is left out: the others may be of another kind.

    Args:
        values_of: items by doses, as of `item_means`, by source, concept and draw. Only random vectors have several
            draws; these are the sample of what is said of random vectors, and of fewer than three nothing is.
        sign: 1 or -1, how Gold's vector is expected to change the measure.
    """
    sources = dict.fromkeys(source for source, _, _ in values_of)
    weights: dict[str, dict[str, int]] = {source: {source: 1} for source in sources}
    for name, control in INTERACTIONS.items():
        if {TRAINED, control} <= sources.keys():
            weights[name] = {TRAINED: 1, control: -1}
    items, doses = (sorted({label for table in values_of.values() for label in table.axes[axis]}) for axis in (0, 1))
    values = {key: table.reindex(index=items, columns=doses).to_numpy(np.float64) for key, table in values_of.items()}
    x, found = np.array(doses, np.float64), []
    for source, quantity in product(weights, QUANTITIES):
        draws = []
        for draw in sorted({draw for whose, _, draw in values_of if whose == list(weights[source])[-1]}):
            terms = {
                (whose, concept, draw if whose == RANDOM else 0): weight * share
                for whose, weight in weights[source].items()
                for concept, share in QUANTITIES[quantity].items()
            }
            if terms.keys() <= values_of.keys():
                draws.append(combined(x, [(weight, values[key]) for key, weight in terms.items()]))
        if not draws:
            continue
        table = np.stack(draws, axis=1)
        if source.endswith(RANDOM):
            measured = interval_over_draws(table, further=source in INTERACTIONS)
        else:
            measured = interval(table[:, 0])
        if measured is not None and measured.n >= LEAST * len(items):
            found.append(Contrast(quantity, source, sign * CONCEPTS.get(quantity, 1), measured))
    return found


def combined(doses: Array, terms: Sequence[tuple[int, Array]]) -> Array:
    """The weighted sum of each item's slopes, all over the doses at which every term has a value [items].

    Args:
        doses: [D].
        terms: weights, and values [items, D].
    """
    there = np.logical_and.reduce([np.isfinite(values) for _, values in terms])
    parts = [weight * slopes(doses, np.where(there, values, np.nan)) for weight, values in terms]
    total: Array = np.sum(parts, axis=0)
    return total


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
