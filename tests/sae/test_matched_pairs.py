"""Pairs of rows with nearly the same outputs: plain references, and cases whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from sae.matched_pairs import (
    Pairs,
    decode_predicate,
    decode_together,
    larger,
    matched_pairs,
    neighbours,
    share_added,
    share_larger,
)
from sae.predicates import random_half


def outputs(n: int = 1500, a: int = 3, seed: int = 0) -> np.ndarray:
    """Of different location and size, so that standardising matters [n, a]."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, a)) * np.geomspace(1, 100, a) + 5


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 25), st.integers(0, 2**31), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_pairs_are_the_nearest_that_are_left(n: int, seed: int, caliper: float) -> None:
    q = outputs(n, seed=seed)
    has = np.random.default_rng(seed).random(n) < 0.4
    space = (q - q.mean(0)) / q.std(0)
    distance = [[float(np.linalg.norm(one - other)) for other in space] for one in space]
    limit = np.quantile([min(row[:i] + row[i + 1 :]) for i, row in enumerate(distance)], caliper)
    left = [(distance[i][j], i, j) for i in range(n) for j in range(n) if has[i] and not has[j]]
    expected = []
    while left and min(left)[0] <= limit * (1 + 1e-12):
        between, i, j = min(left)
        expected.append((i, j, between))
        left = [edge for edge in left if edge[1] != i and edge[2] != j]

    near = neighbours(q, caliper=caliper)
    pairs = matched_pairs(near, has)
    assert near.caliper == pytest.approx(limit)
    assert [(i, j) for i, j, _ in expected] == list(zip(pairs.holds.tolist(), pairs.lacks.tolist(), strict=True))
    assert [between for *_, between in expected] == pytest.approx(pairs.distance.tolist())


def test_rows_of_equal_outputs_are_neighbours_once() -> None:
    near = neighbours(np.repeat(outputs(20), 3, axis=0))
    assert near.caliper == 0 and not near.distance.any()
    found = set(zip(near.first.tolist(), near.second.tolist(), strict=True))
    assert len(found) == len(near.first) == 60 and all(one // 3 == other // 3 for one, other in found)


def test_an_output_that_never_changes_is_no_distance() -> None:
    q = outputs(50)
    np.testing.assert_allclose(neighbours(np.c_[q, np.full(50, 7.0)]).distance, neighbours(q).distance)


def test_ties_count_half() -> None:
    pairs = Pairs(np.array([0, 1, 2, 3]), np.array([4, 5, 6, 7]), np.zeros(4))
    z = np.array([1.0, 0.0, 2.0, 5.0, 0.0, 1.0, 2.0, 4.0])
    assert larger(pairs, z).tolist() == [1.0, 0.0, 0.5, 1.0]
    share = share_larger(pairs, z)
    assert share.value == 0.625 and share.n == 4 and share.low < 0.625 < share.high


@pytest.mark.parametrize(("won", "n"), [(0, 9), (5, 9), (40, 40), (61, 100)])
def test_limits_are_wilsons(won: int, n: int) -> None:
    pairs = Pairs(np.arange(n), np.arange(n, 2 * n), np.zeros(n))
    share = share_larger(pairs, np.r_[np.arange(n) < won, np.full(n, 0.5)])
    expected = binomtest(won, n).proportion_ci(0.95, method="wilson")
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_what_is_added_is_covered_in_nineteen_cases_of_twenty() -> None:
    rng = np.random.default_rng(4)
    n, covered = 60, 0
    pairs = Pairs(np.arange(n), np.arange(n, 2 * n), np.zeros(n))
    for _ in range(1000):
        z, scores = (np.r_[rng.random(n) < share, np.full(n, 0.5)] for share in (0.8, 0.6))
        added = share_added(pairs, z, scores)
        assert added.value == pytest.approx(share_larger(pairs, z).value - share_larger(pairs, scores).value)
        covered += added.low <= 0.2 <= added.high
    assert 0.93 <= covered / 1000 <= 0.98


def test_noise_tells_nothing_of_a_function_of_the_outputs() -> None:
    q = outputs()
    has = np.sin(3 * (q[:, 0] - 5)) > 0
    pairs = matched_pairs(neighbours(q, caliper=0.9), has)
    noise = share_larger(pairs, np.random.default_rng(1).normal(size=len(q)))
    assert noise.n > 100 and noise.low < 0.5 < noise.high


def test_a_feature_that_knows_what_the_outputs_lack() -> None:
    q = outputs(2500)
    rng = np.random.default_rng(2)
    has = rng.random(len(q)) < 0.3
    z = has * rng.uniform(1, 2, len(q))
    half = random_half(len(q), 0)
    pairs = matched_pairs(neighbours(q[~half]), has[~half])
    decoded = decode_predicate(q, has, half, seed=0)
    assert len(pairs.holds) > 100 and share_larger(pairs, z[~half]).value == 1
    yardstick = share_larger(pairs, decoded.scores)
    assert yardstick.low < 0.5 < yardstick.high
    assert share_added(pairs, z[~half], decoded.scores).low > 0.3
    assert decoded.f1 < 0.5


def test_a_function_of_the_outputs_adds_nothing_however_large_its_share() -> None:
    """The distance that is left in a pair gives the predicate away; the yardstick shows that it does."""
    q = outputs(3000)
    has = q[:, 0] > 5.5
    half = random_half(len(q), 0)
    pairs = matched_pairs(neighbours(q[~half], caliper=0.9), has[~half])
    decoded = decode_predicate(q, has, half, seed=0)
    assert share_larger(pairs, q[~half, 0]).value == 1
    assert share_larger(pairs, decoded.scores).low > 0.75
    assert share_added(pairs, q[~half, 0], decoded.scores).value < 0.2
    assert decoded.f1 > 0.97


def test_decoded_scores_are_of_rows_not_seen() -> None:
    """Labels are noise: trees that had seen a row would know its label. F1 at each threshold by scikit-learn."""
    q = outputs(400)
    has = np.random.default_rng(5).random(400) < 0.5
    half = random_half(400, 1)
    f1, scores = decode_predicate(q, has, half, seed=3)
    assert 0.35 < ((scores > 0.5) == has[~half]).mean() < 0.65
    inside = decode_predicate(q, has, ~half, seed=3).scores
    best = max(inside, key=lambda threshold: f1_score(has[half], inside >= threshold))
    assert f1 == pytest.approx(f1_score(has[~half], scores >= best))


def test_no_pairs_no_share() -> None:
    pairs = matched_pairs(neighbours(outputs(30)), np.zeros(30, dtype=bool))
    for share in (share_larger(pairs, np.arange(30)), share_added(pairs, np.arange(30), np.arange(30))):
        assert share.n == 0 and np.isnan(share[:3]).all()


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        neighbours(np.full((4, 2), np.nan))
    with pytest.raises(ValueError, match="two rows or more"):
        neighbours(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="quantile"):
        neighbours(outputs(10), caliper=1.5)
    with pytest.raises(ValueError, match="always or never"):
        decode_predicate(outputs(10), np.arange(10) < 1, np.arange(10) < 5, seed=0)


def test_the_perceptron_reads_what_is_there_and_only_on_rows_not_seen() -> None:
    q = outputs(1200)
    has = np.stack([q[:, 0] > 5.5, q[:, 1] + 3 * q[:, 0] > 20, np.random.default_rng(1).random(1200) < 0.5], 1)
    half = random_half(1200, 0)
    found = decode_together(q, has, half, seed=0)
    assert found.inside.shape == (600, 3) and found.outside.shape == (600, 3)
    for scores, rows in ((found.inside, half), (found.outside, ~half)):
        right = ((scores > 0.5) == has[rows]).mean(0)
        assert (right[:2] > 0.9).all() and 0.4 < right[2] < 0.6


def test_the_better_of_two_decoders_is_the_yardstick() -> None:
    q = outputs(600)
    has = q[:, 0] * q[:, 1] > 100
    half = random_half(600, 0)
    trees = decode_predicate(q, has, half, seed=0)
    perfect = (has[half].astype(float), has[~half].astype(float))
    worthless = (np.zeros(300), np.zeros(300))
    assert decode_predicate(q, has, half, seed=0, other=perfect).f1 == 1
    np.testing.assert_array_equal(decode_predicate(q, has, half, seed=0, other=worthless).scores, trees.scores)
