"""Slopes, contrasts and the verdict on the pattern: against plain least squares, and by simulation."""

from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest, ttest_1samp

from jobs.welfare.contrast import (
    CONCEPTS,
    CONTRAST,
    Array,
    Contrast,
    contrasts,
    interval,
    interval_over_draws,
    item_means,
    pattern_found,
    slopes,
)

ALPHAS = np.array([-4.0, -2.0, 0.0, 2.0, 4.0])
INTERACTION = "trained - untrained"


@given(arrays(np.float64, (3, 5), elements=st.floats(-5, 5) | st.just(np.nan)))
def test_slopes_are_those_of_least_squares_on_what_is_there(values: Array) -> None:
    found = slopes(ALPHAS, values)
    for row, slope in zip(values, found, strict=True):
        there = np.isfinite(row)
        x = ALPHAS[there]
        if len(x) >= 3 and x.min() < 0 < x.max():
            assert slope == pytest.approx(np.polyfit(x, row[there], 1)[0], abs=1e-9)
        else:
            assert np.isnan(slope)


def test_an_items_value_is_the_mean_of_its_coherent_replies() -> None:
    rows = [(0, -1.0, 1.0), (0, -1.0, 3.0), (0, 1.0, np.nan), (1, -1.0, np.nan), (1, 1.0, 5.0), (2, 1.0, np.nan)]
    means = item_means(pd.DataFrame(rows, columns=["item", "dose", "score"]), "score")
    np.testing.assert_array_equal(means.columns, [-1.0, 1.0])
    np.testing.assert_array_equal(means.index, [0, 1, 2])
    np.testing.assert_array_equal(means.to_numpy(), [[2, np.nan], [np.nan, 5], [np.nan, np.nan]])


def test_intervals_are_students() -> None:
    values = np.array([0.3, np.nan, 1.2, -0.4, 0.9])
    reference = ttest_1samp(values[np.isfinite(values)], 0)
    low, high = reference.confidence_interval(0.95)
    found = interval(values)
    assert found is not None
    assert (found.value, found.low, found.high, found.p, found.n) == pytest.approx(
        (0.5, low, high, reference.pvalue, 4)
    )
    assert interval(np.array([1.0, np.nan])) is None


def test_items_that_are_all_the_same_are_as_certain_as_a_sign_test() -> None:
    same, nothing = interval(np.full(6, 0.25)), interval(np.zeros(4))
    assert same is not None and nothing is not None
    assert (same.low, same.high, same.p) == (0.25, 0.25, binomtest(6, 6).pvalue)
    assert (nothing.value, nothing.p) == (0, 1)
    assert binomtest(5, 5).pvalue > 0.05 and interval(np.full(5, -0.25)) is None


@given(
    arrays(np.float64, (4, 5), elements=st.booleans()),
    st.floats(-2, 2),
    st.lists(st.floats(-4, 4), min_size=5, max_size=5, unique=True),
)
def test_what_no_dose_moves_has_no_slope(there: Array, level: float, doses: list[float]) -> None:
    found = slopes(np.array(doses), np.where(there > 0, level, np.nan))
    assert (found[np.isfinite(found)] == 0).all()


def test_draws_that_are_all_the_same_are_as_certain_as_a_sign_test() -> None:
    few, several = (interval_over_draws(np.full((10, draws), 0.25), further=True) for draws in (5, 6))
    assert few is None
    assert several is not None and several.p == binomtest(6, 6).pvalue


def test_a_draw_that_leaves_nothing_coherent_costs_itself_alone() -> None:
    values = np.random.default_rng(9).normal(1, 0.3, (50, 6))
    values[:30, 4] = np.nan
    values[0, 0] = np.nan
    found, without = (interval_over_draws(some, further=False) for some in (values, np.delete(values, 4, axis=1)))
    assert found is not None and found == without and found.n == 50


def lines(*found: float) -> pd.DataFrame:
    """Items whose values rise by these slopes."""
    return pd.DataFrame(1 + np.outer(found, ALPHAS), columns=ALPHAS)


def test_quantities_are_paired_by_item_and_draws_are_averaged() -> None:
    found = {
        (one.source, one.quantity): one
        for one in contrasts(
            {
                ("trained", "gold", 0): lines(2, 3, 4),
                ("trained", "mold", 0): lines(-1, -2, np.nan),
                ("random", "gold", 0): lines(1, 0, 0),
                ("random", "gold", 1): lines(0, 1, 2),
                ("random", "gold", 2): lines(0.5, 0.5, 1),
                ("random", "mold", 0): lines(0, 1, 0),
                ("random", "mold", 1): lines(0, 1, 0),
                ("random", "mold", 2): lines(0, 1, 0),
            },
            sign=-1,
        )
    }
    values = {key: one.interval.value for key, one in found.items()}
    assert values == pytest.approx(
        {
            ("trained", "gold"): 3,
            ("trained", "mold"): -1.5,
            ("trained", "contrast"): 4,
            ("random", "gold"): 2 / 3,
            ("random", "mold"): 1 / 3,
            ("random", "contrast"): 1 / 3,
            ("trained - random", "gold"): 7 / 3,
            ("trained - random", "mold"): -2,
            ("trained - random", "contrast"): 4,  # 3 - 0.5 and 5 + 0.5, the third item has no Mold
        }
    )
    assert {quantity: found["trained", quantity].expected for quantity in ("gold", "mold", "contrast")} == {
        "gold": -1,
        "mold": 1,
        "contrast": -1,
    }
    assert found["trained - random", "contrast"].interval.n == 2


def test_slopes_are_subtracted_over_the_doses_that_both_have() -> None:
    bent = pd.DataFrame(np.outer([1, 2, 3], [0, 0, 0, 1, 4]), columns=ALPHAS)
    lacking = lines(0.5, 0.5, 0.5)
    lacking.loc[0, 4.0] = np.nan  # here the bent one counts without its largest value
    lacking.loc[1, [-4.0, -2.0]] = np.nan  # here nothing is left below zero
    several = {("trained", "gold", 0): bent, ("untrained", "gold", 0): lacking}
    found = {one.source: one.interval for one in contrasts(several, 1)}
    short, whole = (np.polyfit(ALPHAS[:n], [0, 0, 0, 1, 4][:n], 1)[0] for n in (4, 5))
    assert (found[INTERACTION].value, found[INTERACTION].n) == pytest.approx(((short + 3 * whole) / 2 - 0.5, 2))
    assert found["trained"].value == pytest.approx(2 * whole)


def test_nothing_is_said_of_a_minority_of_the_items() -> None:
    values = lines(1, 2, 3, 4, 5)
    values.loc[2:] = np.nan
    full = {("trained", "gold", 0): lines(1, 2, 3, 4, 5), ("untrained", "gold", 0): values}
    assert [one.source for one in contrasts(full, 1)] == ["trained"]


def simulated(rng: np.random.Generator, slope: float, control: float, n: int = 40) -> tuple[Contrast, Contrast]:
    """Contrast and interaction of one evaluation with items of their own levels and slopes, noise, and lost replies."""
    found = {}
    own = {concept: rng.normal(0, 0.05, n) for concept in CONCEPTS}
    for (source, size), (concept, sign) in product((("trained", slope), ("untrained", control)), CONCEPTS.items()):
        values = rng.normal(0, 1, n)[:, None] + (sign * size + own[concept])[:, None] * ALPHAS
        values += rng.exponential(0.5, values.shape) - 0.5
        values[rng.random(values.shape) < 0.05] = np.nan
        found[source, concept, 0] = pd.DataFrame(values, columns=ALPHAS)
    by_source = {one.source: one for one in contrasts(found, 1) if one.quantity == CONTRAST}
    return by_source["trained"], by_source[INTERACTION]


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng, runs, truth = np.random.default_rng(3), 300, 2 * (0.2 - 0.12)
    held = sum(
        one.interval.low <= truth <= one.interval.high for _, one in (simulated(rng, 0.2, 0.12) for _ in range(runs))
    )
    assert 0.915 <= held / runs <= 0.985  # 2.8 standard errors


def told(draws: Mapping[str, tuple[Contrast, Contrast] | None]) -> bool:
    """Whether the whole pattern is found in evaluations of which contrast and interaction are these."""
    return pattern_found(*({name: both and both[which] for name, both in draws.items()} for which in (0, 1)))


def test_the_pattern_is_found_if_it_is_there_and_not_if_the_control_has_it_too() -> None:
    rng, runs = np.random.default_rng(4), 40
    names = ("confidence", "sentiment", "backtracking", "refusal")

    def share(controls: tuple[float, ...]) -> float:
        draws = [
            {name: simulated(rng, 0.3, control) for name, control in zip(names, controls, strict=True)}
            for _ in range(runs)
        ]
        return sum(told(draw) for draw in draws) / runs

    assert share((0.0, 0.0, 0.0, 0.0)) > 0.95
    # one evaluation in which the control does the same is enough, however large the others' interactions are
    assert share((0.3, 0.0, 0.0, 0.0)) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)
    assert share((0.3, 0.3, 0.3, 0.3)) <= 0.02


def test_a_missing_evaluation_and_a_wrong_sign_are_no_pattern() -> None:
    rng = np.random.default_rng(5)
    there, opposite = simulated(rng, 0.5, 0.0), simulated(rng, -0.5, 0.0)
    assert told({"confidence": there})
    assert not told({"confidence": there, "refusal": opposite})
    assert not told({"confidence": there, "refusal": None})
    assert not told({})


def test_a_control_that_does_the_reverse_is_no_pattern() -> None:
    (own, beyond), (there, _) = (
        simulated(np.random.default_rng(6), 0.0, -0.5),
        simulated(np.random.default_rng(6), 0.5, 0),
    )
    assert beyond.as_expected and not own.as_expected
    assert not pattern_found({"confidence": own}, {"confidence": beyond})
    assert pattern_found({"confidence": there}, {"confidence": beyond})
    assert not pattern_found({}, {"confidence": beyond})


def random_pattern(rng: np.random.Generator, strength: float, draws: int = 8, n: int = 100, d: int = 128) -> bool:
    """Whether a pair of vectors shows the whole pattern beyond random pairs in a model with one axis.

    All four evaluations move along the one axis; the trained pair is random but for ``strength`` along it.
    """
    pairs = rng.normal(0, d**-0.5, (1 + draws, 2, d))
    pairs[0, :, 0] += strength * np.array([1, -1])
    along, both = pairs[:, :, 0], {}
    for name in ("confidence", "sentiment", "backtracking", "refusal"):
        own = 1 + rng.normal(0, 0.3, n)  # how far each item is moved by the axis
        found = {
            ("random" if draw else "trained", concept, max(draw - 1, 0)): lines(
                *(own * along[draw, row] + rng.normal(0, 0.1, n))
            )
            for draw in range(1 + draws)
            for row, concept in enumerate(CONCEPTS)
        }
        by_source = {one.source: one for one in contrasts(found, 1) if one.quantity == CONTRAST}
        both[name] = (by_source["trained"], by_source["trained - random"])
    return told(both)


def test_a_random_pair_has_no_pattern_beyond_random_ones_though_all_evaluations_share_one_axis() -> None:
    rng, runs = np.random.default_rng(7), 120
    assert sum(random_pattern(rng, 0.0) for _ in range(runs)) / runs <= 0.05
    assert sum(random_pattern(rng, 0.5) for _ in range(20)) / 20 > 0.9


@pytest.mark.parametrize("further", [True, False])
def test_intervals_over_draws_hold_the_truth_as_often_as_they_say(further: bool) -> None:
    rng, runs = np.random.default_rng(8), 600
    held = 0
    for _ in range(runs):
        draws = rng.normal(0, 1, 4)
        values = 0.3 + (rng.normal() if further else 0.0) + draws + rng.normal(0, 0.2, (50, 1))
        found = interval_over_draws(values, further=further)
        assert found is not None
        held += found.low <= 0.3 <= found.high
    assert 0.925 <= held / runs <= 0.975  # 2.8 standard errors


def test_few_draws_say_nothing_of_random_vectors() -> None:
    found = {(source, concept, 0): lines(1, 2, 3) for source in ("trained", "random") for concept in CONCEPTS}
    found |= {("random", concept, 1): lines(3, 2, 2) for concept in CONCEPTS}
    assert {one.source for one in contrasts(found, 1)} == {"trained"}
