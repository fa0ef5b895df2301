"""Whether a feature tells more of a predicate than a network's outputs do.

Rows are paired whose outputs are nearly the same and of which one has the predicate. Were the feature's knowledge of
the predicate all in the outputs, it would be larger in either row of a pair about as often. Nearly the same isn't the
same, though: where a predicate changes with the outputs, what is left of their distance tells the rows of a pair
apart, and any smooth function of the outputs then passes. So the yardstick is the score of a decoder that was trained
on all outputs, in the same pairs, and the difference of the two shares is what the feature adds.

Pairs are made of held-out rows alone. Features are chosen on the selection, and a decoder that has seen one row of a
pair gives its label to the other, which has the opposite one.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import f1_score, precision_recall_curve
from sklearn.neighbors import NearestNeighbors
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sae.predicates import wilson

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

HIDDEN = (256, 256)
"""Units of the perceptron's layers."""
PASSES = 200
"""Of the perceptron over the rows it is trained on."""
AT_MOST = 32
"""Neighbours of a row that are looked at: many rows may have equal outputs."""


class Neighbours(NamedTuple):
    """Two rows each whose outputs are nearly the same, the nearest first."""

    first: Ints
    """[E]"""
    second: Ints
    """[E]"""
    distance: Floats
    """Euclidean, of outputs standardised one by one [E]."""
    caliper: float
    """The largest distance that counts as near."""


class Pairs(NamedTuple):
    """Rows of nearly the same outputs of which one has the predicate; each row is in one pair at most."""

    holds: Ints
    """[n]"""
    lacks: Ints
    """[n]"""
    distance: Floats
    """What is left between their outputs [n]."""


class Share(NamedTuple):
    """A share of pairs, or a difference of shares, with confidence limits; NaN without pairs."""

    value: float
    low: float
    high: float
    n: int
    """Pairs."""


class Decoded(NamedTuple):
    """What all outputs together tell of a predicate."""

    f1: float
    """Held out."""
    scores: Floats
    """Probability of the predicate at each held-out row, in order [number held out]."""


def neighbours(q: ArrayLike, *, caliper: float = 0.5) -> Neighbours:
    """Rows of outputs q [N, A] that are near each other.

    The caliper is a quantile, over rows, of the distance to the nearest other row. Raises ValueError for fewer than two
    rows, numbers that aren't finite, or a quantile outside [0, 1].
    """
    outputs = _outputs(q)
    if not 0 <= caliper <= 1:
        raise ValueError(f"the caliper is a quantile, between 0 and 1, not {caliper}")
    space = StandardScaler().fit_transform(outputs)
    near = NearestNeighbors(n_neighbors=min(AT_MOST, len(space) - 1)).fit(space)
    index = near.kneighbors(return_distance=False)  # without the row itself
    # Taken from products, as scikit-learn does, the distance of equal rows is not quite 0.
    distance = np.stack([np.linalg.norm(space - space[column], axis=1) for column in index.T], axis=1)
    limit = float(np.quantile(distance.min(1), caliper))
    row = np.broadcast_to(np.arange(len(space))[:, None], index.shape)[distance <= limit]
    other, between = index[distance <= limit], distance[distance <= limit]
    ends = np.sort(np.stack([row, other]), axis=0)
    _, once = np.unique(ends, axis=1, return_index=True)
    order = once[np.argsort(between[once], kind="stable")]
    return Neighbours(ends[0][order], ends[1][order], between[order], limit)


def matched_pairs(near: Neighbours, predicate: ArrayLike) -> Pairs:
    """Pairs of which one row has the predicate [N], the nearest first, as long as neither row is taken."""
    has = np.asarray(predicate, dtype=np.bool_)
    differ = np.flatnonzero(has[near.first] != has[near.second])
    taken = np.zeros(len(has), dtype=np.bool_)
    chosen = []
    for edge in differ.tolist():
        ends = near.first[edge], near.second[edge]
        if not (taken[ends[0]] or taken[ends[1]]):
            taken[[*ends]] = True
            chosen.append(edge)
    edges = np.array(chosen, dtype=np.int64)
    one, other = near.first[edges], near.second[edges]
    return Pairs(np.where(has[one], one, other), np.where(has[one], other, one), near.distance[edges])


def larger(pairs: Pairs, z: ArrayLike) -> Floats:
    """Whether a feature z [N] is larger where the predicate holds, 1 or 0, and 1/2 where it's the same [n]."""
    values = np.asarray(z)
    return np.asarray((1 + np.sign(values[pairs.holds] - values[pairs.lacks])) / 2, dtype=np.float64)


def share_larger(pairs: Pairs, z: ArrayLike, *, confidence: float = 0.95) -> Share:
    """Share of the pairs in which a feature z [N] is larger where the predicate holds; ties count half.

    Wilson's limits, which are somewhat wide where there are ties.
    """
    won, n = larger(pairs, z).sum(), len(pairs.holds)
    low, high = wilson(won, n, confidence)
    return Share(float(won / n) if n else np.nan, float(low), float(high), n)


def share_added(pairs: Pairs, z: ArrayLike, scores: ArrayLike, *, confidence: float = 0.95) -> Share:
    """By how much a feature's share exceeds that of a decoder's scores, both [N], in the same pairs.

    Limits of Agresti and Min 2005 (Statistics in Medicine 24), which put two more pairs beside those there are.
    """
    difference = larger(pairs, z) - larger(pairs, scores)
    n = len(difference)
    if n == 0:
        return Share(np.nan, np.nan, np.nan, 0)
    centre = difference.sum() / (n + 2)
    spread = np.sqrt(((np.square(difference).sum() + 1) / (n + 2) - centre**2) / (n + 2))
    half = float(scipy.stats.norm.ppf((1 + confidence) / 2) * spread)
    return Share(float(difference.mean()), max(-1.0, centre - half), min(1.0, centre + half), n)


class Perceptron(NamedTuple):
    """What a network with two hidden layers, trained on all predicates at once, makes of all outputs."""

    inside: Floats
    """Probability of each predicate at the rows of the selection, when trained on the others [number selected, P]."""
    outside: Floats
    """And at the held-out rows, when trained on the selection [number held out, P]."""


def decode_together(q: ArrayLike, predicates: ArrayLike, selection: Bools, *, seed: int) -> Perceptron:
    """A perceptron decodes all predicates [N, P] from all outputs q [N, A]: they lend each other what they need."""
    has = np.asarray(predicates, dtype=np.bool_)
    outputs = StandardScaler().fit_transform(_outputs(q)).astype(np.float32)  # twice as fast as float64

    def scores(seen: Bools) -> Floats:
        perceptron = MLPClassifier(HIDDEN, max_iter=PASSES, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # so many passes are meant, not the best fit to what is seen
            perceptron.fit(outputs[seen], has[seen])
        return np.asarray(perceptron.predict_proba(outputs[~seen]), dtype=np.float64).reshape(-1, has.shape[1])

    return Perceptron(scores(~selection), scores(selection))


def decode_predicate(
    q: ArrayLike, predicate: ArrayLike, selection: Bools, *, seed: int, other: tuple[Floats, Floats] | None = None
) -> Decoded:
    """Gradient-boosted trees decode a predicate [N] from all outputs q [N, A].

    They are trained on the selection [N] and score the rest. The threshold of F1 is that which is best on the selection
    for others, trained on the rest.

    Args:
        q: outputs.
        predicate: what is to be decoded.
        selection: rows to train on.
        seed: of the trees.
        other: another decoder's scores on the selection and on the rest. The better one on the rest is taken, which
            favours decoders: a yardstick is to be no shorter than it can be.

    Raises:
        ValueError: a half in which the predicate always or never holds.
    """
    outputs, has = _outputs(q), np.asarray(predicate, dtype=np.bool_)
    found = [_judged(has, selection, _scores(outputs, has, ~selection, seed), _scores(outputs, has, selection, seed))]
    if other is not None:
        found.append(_judged(has, selection, *other))
    return max(found, key=lambda decoded: decoded.f1)


def _judged(has: Bools, selection: Bools, inside: Floats, outside: Floats) -> Decoded:
    precision, recall, thresholds = precision_recall_curve(has[selection], inside)
    with np.errstate(invalid="ignore"):
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))
    predicted = outside >= thresholds[f1[: len(thresholds)].argmax()]
    return Decoded(float(f1_score(has[~selection], predicted)), outside)


def _scores(outputs: Floats, has: Bools, seen: Bools, seed: int) -> Floats:
    """Probability of the predicate at the rows not seen, by trees trained on those seen."""
    if len(np.unique(has[seen])) < 2:
        raise ValueError("a half of the rows holds the predicate always or never: nothing can be decoded")
    # for so few rows a second thread costs more than it brings: ten times, where another library's threads wait, too
    with threadpool_limits(1, user_api="openmp"):
        trees = HistGradientBoostingClassifier(random_state=seed).fit(outputs[seen], has[seen])
    return np.asarray(trees.predict_proba(outputs[~seen])[:, 1], dtype=np.float64)


def _outputs(q: ArrayLike) -> Floats:
    outputs = np.asarray(q, dtype=np.float64)
    if outputs.ndim != 2 or len(outputs) < 2:
        raise ValueError(f"expected outputs [N, A] of two rows or more, not {list(outputs.shape)}")
    if not np.isfinite(outputs).all():
        raise ValueError("the outputs hold a number that is not finite")
    return outputs
