"""Streaming correlation against numpy and against plain regression."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sae.correlation import StreamingCorrelation

Floats = NDArray[np.float64]


def stream(n: int, ratio: float, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """x [n, 5], y [n, 3], c [n, 2] of unit spread about a mean of `ratio`, with common causes."""
    rng = np.random.default_rng(seed)
    cause = rng.standard_normal((n, 4))
    mix = rng.standard_normal((4, 10))
    data = 0.3 * cause @ mix + rng.standard_normal((n, 10))
    data += ratio * rng.choice([-1.0, 1.0], 10)
    return data[:, :5], data[:, 5:8], data[:, 8:]


def accumulated(parts: list[tuple[Floats, Floats, Floats]]) -> StreamingCorrelation:
    correlation = StreamingCorrelation(5, 3, 2)
    for part in parts:
        correlation.update(*part)
    return correlation


def cut(data: tuple[Floats, Floats, Floats], sizes: list[int]) -> list[tuple[Floats, Floats, Floats]]:
    x, y, c = data
    at = np.cumsum([0, *sizes])
    return [(x[i:j], y[i:j], c[i:j]) for i, j in pairwise(at)]


def residual(v: Floats, c: Floats) -> Floats:
    """What regression on c and a constant leaves of v."""
    design = np.column_stack([np.ones(len(c)), c - c.mean(0)])
    return v - design @ np.linalg.lstsq(design, v, rcond=None)[0]


@pytest.mark.parametrize("ratio", [0.0, 100.0, 1000.0, 1e6])
def test_r_agrees_with_numpy_whatever_the_mean(ratio: float) -> None:
    x, y, c = stream(5000, ratio)
    correlation = accumulated(cut((x, y, c), [1, 999, 3000, 1000]))
    expected = np.corrcoef(x - x.mean(0), y - y.mean(0), rowvar=False)[:5, 5:]
    np.testing.assert_allclose(correlation.r, expected, atol=1e-10)
    assert correlation.n == 5000


@pytest.mark.parametrize("ratio", [0.0, 1000.0])
def test_partial_r_is_the_correlation_of_regression_residuals(ratio: float) -> None:
    x, y, c = stream(2000, ratio)
    expected = np.corrcoef(residual(x, c), residual(y, c), rowvar=False)[:5, 5:]
    np.testing.assert_allclose(accumulated([(x, y, c)]).partial_r, expected, atol=1e-9)


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(0, 1000))
def test_chunks_do_not_matter(sizes: list[int], seed: int) -> None:
    data = stream(sum(sizes) + 10, 1000.0, seed)
    whole, pieces = accumulated([data]), accumulated(cut(data, [*sizes, 10]))
    np.testing.assert_allclose(pieces.r, whole.r, atol=1e-9)
    np.testing.assert_allclose(pieces.partial_r, whole.partial_r, atol=1e-7)


@settings(deadline=None)
@given(st.tuples(*[st.integers(0, 30)] * 3), st.integers(0, 1000))
def test_merging_is_associative_and_commutative(sizes: tuple[int, int, int], seed: int) -> None:
    parts = cut(stream(sum(sizes) + 10, 1000.0, seed), [sizes[0], sizes[1], sizes[2] + 10])
    left, right, swapped = (accumulated([parts[i]]) for i in (0, 1, 2))
    left.merge(accumulated([parts[1]]))
    left.merge(accumulated([parts[2]]))
    right.merge(accumulated([parts[2]]))
    first = accumulated([parts[0]])
    first.merge(right)
    swapped.merge(accumulated([parts[0]]))
    swapped.merge(accumulated([parts[1]]))
    for other in (first, swapped):
        assert other.n == left.n
        np.testing.assert_allclose(other.r, left.r, atol=1e-9)


@given(st.floats(-1e6, 1e6), st.floats(-1e3, 1e3), st.integers(2, 50))
def test_what_does_not_vary_has_no_correlation(x_value: float, y_value: float, n: int) -> None:
    """0.1 summed n times is seldom n * 0.1: a variance would leave rounding, and rounding correlates."""
    correlation = StreamingCorrelation(2, 2, 1)
    ramp = np.linspace(-1, 1, n)
    x = np.column_stack([np.full(n, x_value), ramp])
    y = np.column_stack([ramp, np.full(n, y_value)])
    for i in range(n):
        correlation.update(x[i : i + 1], y[i : i + 1], np.zeros((1, 1)))
    for r in (correlation.r, correlation.partial_r):
        np.testing.assert_array_equal(np.isnan(r), [[True, True], [False, True]])
        assert r[1, 0] == pytest.approx(1)


def test_before_two_rows_nothing_is_known() -> None:
    correlation = StreamingCorrelation(2, 3)
    assert np.isnan(correlation.r).all()
    correlation.update(np.zeros((0, 2)), np.zeros((0, 3)))
    correlation.update(np.ones((1, 2)), np.ones((1, 3)))
    assert correlation.n == 1 and np.isnan(correlation.r).all()


def test_variables_that_the_covariates_explain_have_no_partial_r() -> None:
    x, y, c = stream(500, 1000.0)
    x[:, 0] = 3 * c[:, 0] - c[:, 1] + 7
    y[:, 1] = c[:, 1]
    partial = accumulated(cut((x, y, c), [200, 300])).partial_r
    assert np.isnan(partial[0]).all() and np.isnan(partial[:, 1]).all()
    assert np.isfinite(np.delete(partial[1:], 1, axis=1)).all()


def test_dependent_and_constant_covariates_change_nothing() -> None:
    x, y, c = stream(500, 10.0)
    more = np.column_stack([c, 2 * c[:, 0] - c[:, 1], np.full(500, 0.1)])
    correlation = StreamingCorrelation(5, 3, 4)
    correlation.update(x, y, more)
    np.testing.assert_allclose(correlation.partial_r, accumulated([(x, y, c)]).partial_r, atol=1e-7)


def test_without_covariates_partial_r_is_r() -> None:
    x, y, _ = stream(100, 5.0)
    correlation = StreamingCorrelation(5, 3)
    correlation.update(torch.from_numpy(x), y)
    np.testing.assert_allclose(correlation.partial_r, correlation.r)


def test_bad_input_is_refused() -> None:
    correlation = StreamingCorrelation(2, 1)
    with pytest.raises(ValueError, match=r"expected x \[N, 2\]"):
        correlation.update(np.zeros((3, 1)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"expected x \[N, 2\]"):
        correlation.update(np.zeros((3, 2)), np.zeros((4, 1)))
    with pytest.raises(ValueError, match="not finite"):
        correlation.update(np.zeros((3, 2)), np.full((3, 1), np.nan))
    with pytest.raises(ValueError, match="a latent holds"):
        correlation.update(np.full((3, 2), np.inf), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="same variables"):
        correlation.merge(StreamingCorrelation(2, 2))
