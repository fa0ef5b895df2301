"""Weights of parts against plain least squares, and what they tell that r with a difference can't."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sae.part_regression import part_weights

Floats = NDArray[np.float64]
R, T, P = 5, 20, 3
ONCE = np.ones((2, R))


def plain(z: Floats, parts: Floats, covariates: Floats | None) -> tuple[Floats, float]:
    """Standardised coefficients, and the share explained of what the covariates leave."""
    flat = parts.reshape(-1, P)
    others = np.empty((len(flat), 0)) if covariates is None else covariates.reshape(len(flat), -1)
    one = np.ones((len(flat), 1))
    design = np.hstack([flat, others, one])
    found = np.linalg.lstsq(design, z.ravel(), rcond=None)[0]
    rest = np.hstack([others, one])
    before = z.ravel() - rest @ np.linalg.lstsq(rest, z.ravel(), rcond=None)[0]
    after = z.ravel() - design @ found
    return found[:P] * flat.std(0) / z.std(), float(1 - after.var() / before.var())


@given(st.integers(0, 2**32 - 1), st.integers(0, 2))
def test_against_least_squares(seed: int, n_covariates: int) -> None:
    rng = np.random.default_rng(seed)
    z, parts = rng.standard_normal((R, T)) * 3 + 1, np.cumsum(rng.standard_normal((R, T, P)), axis=1) + 7
    covariates = rng.standard_normal((R, T, n_covariates)) if n_covariates else None
    found = part_weights(z, parts, covariates, weights=ONCE)
    coefficients, share = plain(z, parts, covariates)
    np.testing.assert_allclose(found.value, [*coefficients, share], atol=1e-9)
    np.testing.assert_allclose(found.low, found.value)  # resamples that are the sample itself
    np.testing.assert_allclose(found.high, found.value)


def test_a_resample_is_the_sample_with_rollouts_repeated() -> None:
    rng = np.random.default_rng(0)
    z, parts = rng.standard_normal((R, T)), rng.standard_normal((R, T, P))
    often = np.array([[2, 0, 1, 1, 1]])
    rows = np.repeat(np.arange(R), often[0])
    expected = part_weights(z[rows], parts[rows], weights=ONCE)
    np.testing.assert_allclose(part_weights(z, parts, weights=often).low, expected.value)


def test_a_difference_and_a_single_part_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    parts = rng.standard_normal((R, 200, 2))
    noise = 0.1 * rng.standard_normal((R, 200))
    weights = rng.multinomial(R, np.full(R, 1 / R), size=200)
    difference = part_weights(parts[..., 0] - parts[..., 1] + noise, parts, weights=weights)
    assert difference.low[0] > 0.5 and difference.high[1] < -0.5
    single = part_weights(parts[..., 0] + noise, parts, weights=weights)
    assert single.low[0] > 0.9 and abs(single.value[1]) < 0.05


def test_what_cannot_be_told_apart_has_no_weights() -> None:
    rng = np.random.default_rng(2)
    z, one = rng.standard_normal((R, T)), rng.standard_normal((R, T, 1))
    for parts in (np.concatenate([one, 2 * one], 2), np.concatenate([one, np.ones_like(one)], 2)):
        assert np.isnan(part_weights(z, parts, weights=ONCE).value).all()
    assert np.isnan(part_weights(np.ones((R, T)), one, weights=ONCE).value).all()
    assert np.isnan(part_weights(z, one, one, weights=ONCE).value).all()  # held constant


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_collinear_covariates_do_no_harm(scale: float) -> None:
    rng = np.random.default_rng(3)
    z, parts, given_ = (rng.standard_normal((R, T, n)) for n in (1, P, 1))
    doubled = np.concatenate([given_, scale * given_, np.ones_like(given_)], 2)
    once = part_weights(z[..., 0], parts, given_, weights=ONCE)
    np.testing.assert_allclose(part_weights(z[..., 0], parts, doubled, weights=ONCE).value, once.value, atol=1e-8)
