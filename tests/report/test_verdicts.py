"""Each rule gives each of its verdicts, and none concludes from silence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jobs.report import verdicts
from jobs.report.verdicts import Interval, Null, Verdict

YES, NO, UNCLEAR = Verdict.REPLICATES, Verdict.DIFFERS, Verdict.UNCLEAR
UNKNOWN = Interval(0.4, math.nan, math.nan)

numbers = st.floats(-5, 5)
spans = st.floats(0.001, 3)


@pytest.mark.parametrize(
    ("values", "digits", "text"),
    [
        ((0.412, 0.37, 0.45), 2, "0.41 [0.37, 0.45]"),
        ((0.00021, 0.00004, 0.00038), 3, "0.00021 [0.00004, 0.00038]"),
        ((0.15, 0.004, 0.296), 2, "0.150 [0.004, 0.296]"),
        ((0.15, 0.00004, 0.3), 2, "0.150 [0.000, 0.300]"),
        ((30.0, -0.004, 60.0), 1, "30.0 [0.0, 60.0]"),
        ((0.0, 0.0, 0.0), 2, "0.00 [0.00, 0.00]"),
        ((1e-17, -1e-17, 0.2), 2, "0.00 [0.00, 0.20]"),
        ((0.0004, math.nan, math.nan), 2, "0.0004"),
    ],
)
def test_what_is_not_nothing_is_not_written_as_nothing(
    values: tuple[float, float, float], digits: int, text: str
) -> None:
    assert Interval(*values).text(digits) == text


def test_a_small_bound_can_be_read_in_its_rule() -> None:
    assert "(0.0003)" in verdicts.exceeds(Interval(0.0002, 0.0001, 0.0004), 0.0003, "chance").rule


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        (Interval(4.9, 4.5, 5.3), YES),
        (Interval(3.2, 2.9, 3.6), NO),
        (Interval(4.2, 3.8, 4.6), UNCLEAR),
        (None, UNCLEAR),
        (UNKNOWN, UNCLEAR),
    ],
)
def test_exceeds(ours: Interval | None, verdict: Verdict) -> None:
    assert verdicts.exceeds(ours, 4.0, "chance").verdict is verdict


@pytest.mark.parametrize(
    ("ours", "null", "verdict"),
    [
        (Interval(0.6, 0.4, 0.8), Null(0.3, 0.5), YES),  # the threshold is for the value, not for its interval
        (Interval(0.6, 0.2, 1.0), Null(0.3, 0.5), UNCLEAR),
        (Interval(0.45, 0.4, 0.55), Null(0.3, 0.5), UNCLEAR),
        (Interval(0.4, 0.35, 0.45), Null(0.3, 0.5), NO),
        (Interval(0.6, 0.4, 0.8), Null(0.3, math.nan), UNCLEAR),
        (Interval(0.6, 0.4, 0.8), None, UNCLEAR),
        (None, Null(0.3, 0.5), UNCLEAR),
        (UNKNOWN, Null(0.3, 0.5), UNCLEAR),
    ],
)
def test_above_null(ours: Interval | None, null: Null | None, verdict: Verdict) -> None:
    assert verdicts.above_null(ours, null, "walks").verdict is verdict


@pytest.mark.parametrize(
    ("difference", "published", "verdict"),
    [
        (Interval(-0.5, -0.8, -0.2), -0.56, YES),
        (Interval(-0.1, -0.15, -0.05), -0.56, YES),  # smaller than published, but there
        (Interval(0.3, 0.1, 0.5), -0.56, NO),
        (Interval(0.3, 0.1, 0.5), None, NO),
        (Interval(-0.1, -0.3, 0.1), -0.56, NO),  # contains 0, excludes the published size
        (Interval(-0.3, -0.7, 0.1), -0.56, UNCLEAR),  # contains both
        (Interval(-0.1, -0.3, 0.1), None, UNCLEAR),
        (None, -0.56, UNCLEAR),
        (UNKNOWN, -0.56, UNCLEAR),
    ],
)
def test_effect(difference: Interval | None, published: float | None, verdict: Verdict) -> None:
    assert verdicts.effect(difference, published, expected=-1).verdict is verdict


@given(numbers, spans, spans, st.none() | st.floats(0.01, 5))
def test_effects_do_not_depend_on_the_sign_convention(
    value: float, below: float, above: float, published: float | None
) -> None:
    up = verdicts.effect(Interval(value, value - below, value + above), published, expected=1)
    mirrored = Interval(-value, -value - above, -value + below)
    down = verdicts.effect(mirrored, None if published is None else -published, expected=-1)
    assert up.verdict is down.verdict


def test_sizes_are_compared_in_words() -> None:
    assert "less" in verdicts.compared(Interval(-0.06, -0.13, -0.01), -0.56)
    assert "more" in verdicts.compared(Interval(-0.9, -1.0, -0.8), -0.56)
    assert verdicts.compared(Interval(-0.5, -0.7, -0.3), -0.56) == ""
    assert verdicts.compared(None, -0.56) == ""


@pytest.mark.parametrize(
    ("ours", "control", "verdict"),
    [
        (Interval(0.6, 0.55, 0.65), Interval(0.4, 0.35, 0.45), YES),
        (Interval(0.4, 0.35, 0.45), Interval(0.6, 0.55, 0.65), NO),
        (Interval(0.5, 0.45, 0.55), Interval(0.5, 0.45, 0.55), UNCLEAR),  # a coin flip
        (Interval(0.5, 0.45, 0.55), Interval(0.45, 0.4, 0.5), UNCLEAR),
        (Interval(0.45, 0.4, 0.5), Interval(0.5, 0.45, 0.55), UNCLEAR),  # behind, but not clearly
        (Interval(0.5, 0.45, 0.55), None, UNCLEAR),
        (None, Interval(0.5, 0.45, 0.55), UNCLEAR),
    ],
)
def test_beyond(ours: Interval | None, control: Interval | None, verdict: Verdict) -> None:
    assert verdicts.beyond(ours, control, "raw dimensions").verdict is verdict


@given(numbers, spans, numbers, spans)
def test_beyond_is_fair_to_both_sides(a: float, da: float, b: float, db: float) -> None:
    """Whichever of the two is called the control: one is ahead as far as the other is behind."""
    first, second = Interval(a, a - da, a + da), Interval(b, b - db, b + db)
    forth, back = verdicts.beyond(first, second, "it").verdict, verdicts.beyond(second, first, "it").verdict
    assert (forth, back) in {(YES, NO), (NO, YES), (UNCLEAR, UNCLEAR)}
    assert (forth is UNCLEAR) == (abs(a - b) <= da + db)


@pytest.mark.parametrize(
    ("p", "heldout", "threshold", "verdict"),
    [
        (0.01, Interval(0.5, 0.4, 0.6), 0.3, YES),
        (0.4, Interval(0.1, 0.0, 0.2), 0.3, NO),
        (0.4, Interval(0.2, 0.1, 0.4), 0.3, UNCLEAR),  # might still reach the threshold
        (0.01, Interval(0.1, 0.0, 0.2), 0.3, UNCLEAR),
        (0.4, Interval(0.5, 0.4, 0.6), 0.3, UNCLEAR),
        (0.01, Interval(0.5, 0.4, 0.6), None, UNCLEAR),
        (0.01, None, 0.3, UNCLEAR),
        (math.nan, Interval(0.5, 0.4, 0.6), 0.3, UNCLEAR),
    ],
)
def test_family_wise(p: float, heldout: Interval | None, threshold: float | None, verdict: Verdict) -> None:
    assert verdicts.family_wise(p, 0.05, heldout, threshold).verdict is verdict


@pytest.mark.parametrize(
    ("partial", "heldout", "verdict"),
    [
        (Interval(0.3, 0.2, 0.4), 0.25, YES),
        (Interval(0.3, 0.2, 0.4), 0.05, UNCLEAR),  # not on the rollouts that did not choose it
        (Interval(0.15, 0.05, 0.25), 0.2, UNCLEAR),
        (Interval(0.0, -0.1, 0.08), 0.2, NO),
        (Interval(0.3, 0.2, 0.4), math.nan, UNCLEAR),
        (None, 0.2, UNCLEAR),
    ],
)
def test_remains(partial: Interval | None, heldout: float, verdict: Verdict) -> None:
    assert verdicts.remains(partial, heldout, 0.1, 0.95).verdict is verdict


@pytest.mark.parametrize(("error", "verdict"), [(1e-6, YES), (1e-3, NO), (None, UNCLEAR), (math.nan, UNCLEAR)])
def test_agrees(error: float | None, verdict: Verdict) -> None:
    assert verdicts.agrees(error, 5e-5).verdict is verdict


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ((YES, YES), YES),
        ((YES, UNCLEAR), UNCLEAR),  # nobody knows, so neither holds nor fails
        ((UNCLEAR, UNCLEAR), UNCLEAR),
        ((YES, UNCLEAR, NO), NO),
        ((), UNCLEAR),
    ],
)
def test_together(parts: tuple[Verdict, ...], verdict: Verdict) -> None:
    assert verdicts.together(parts).verdict is verdict


def test_rules_say_what_they_compare() -> None:
    assert "chance (4.00)" in verdicts.exceeds(None, 4.0, "chance").rule
    assert "stops short of the published −0.56" in verdicts.effect(None, -0.564, expected=-1).rule
    assert "published" not in verdicts.effect(None, None, expected=-1).rule
    assert "our 90 % interval" in verdicts.beyond(None, None, "it", 0.9).rule


def test_mean_interval_is_students() -> None:
    values = np.random.default_rng(0).normal(3, 2, 40)
    ours = verdicts.mean_interval([*values, math.nan])
    reference = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((reference.low, reference.high))
    assert verdicts.mean_interval([1.0]) is None


def test_average_of_intervals() -> None:
    both = verdicts.average([Interval(1, 0, 2), Interval(3, 2, 6), UNKNOWN])
    assert both == Interval(2, 1, 4)
    assert verdicts.average([UNKNOWN]) is None


def test_counting_downwards() -> None:
    assert verdicts.negated(Interval(-0.3, -0.4, -0.1)) == Interval(0.3, 0.1, 0.4)
    assert verdicts.negated(None) is None


def test_interval_text_uses_a_minus_sign() -> None:
    assert Interval(-0.126, -0.5, 0.25).text() == "−0.13 [−0.50, 0.25]"
    assert UNKNOWN.text() == "0.40"
