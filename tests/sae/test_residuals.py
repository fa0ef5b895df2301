"""Residuals on covariates, whose correlation is the partial one and whose clustered interval is reported."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sae.permutation_null import rollout_permutations
from sae.rollout_statistics import clustered_interval, correlate, correlate_rollouts, residuals, split_halves


def _data(seed: int, rollouts: int = 24, steps: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    given = rng.normal(size=(rollouts, steps, 2)) + 5.0
    shared = rng.normal(size=(rollouts, 1, 1))
    z = given @ rng.normal(size=(2, 3)) + rng.normal(size=(rollouts, steps, 3)) + shared
    y = given @ rng.normal(size=(2, 2)) + rng.normal(size=(rollouts, steps, 2)) + shared
    return z, y, given


@given(seed=st.integers(0, 10**6))
def test_correlation_of_residuals_is_the_partial_correlation(seed: int) -> None:
    z, y, given_ = _data(seed)
    r = correlate(residuals(z, given_), residuals(y, given_)).r
    np.testing.assert_allclose(r, correlate(z, y, given_).partial_r, atol=1e-10)


def test_residuals_are_those_of_least_squares_and_a_repeated_covariate_changes_nothing() -> None:
    z, _, given_ = _data(1)
    design = np.column_stack([np.ones(240), given_.reshape(240, 2)])
    expected = z.reshape(240, 3) - design @ np.linalg.lstsq(design, z.reshape(240, 3), rcond=None)[0]
    np.testing.assert_allclose(residuals(z, given_).reshape(240, 3).numpy(), expected, atol=1e-9)
    twice = np.concatenate([given_, given_], axis=2)
    torch.testing.assert_close(residuals(z, twice), residuals(z, given_), atol=1e-8, rtol=0)


def test_partial_and_held_out_intervals_are_those_of_their_own_data() -> None:
    z, y, given_ = _data(2)
    strata = np.repeat([0, 1], 12)
    half = split_halves(strata, seed=0)
    found = correlate_rollouts(
        z,
        y,
        covariates=given_,
        strata=strata,
        selection=half,
        permutations=rollout_permutations(strata, 19, seed=0),
    )
    out = clustered_interval(z[~half], y[~half], strata=strata[~half])
    np.testing.assert_allclose([found.heldout_low, found.heldout_high], [out.low, out.high])
    assert (found.heldout_low < found.r_heldout).all() and (found.r_heldout < found.heldout_high).all()
    assert (found.partial_low < found.r_partial).all() and (found.r_partial < found.partial_high).all()
    np.testing.assert_allclose(found.r_partial_selection, correlate(z[half], y[half], given_[half]).partial_r)


def test_the_partial_interval_agrees_with_a_bootstrap_over_rollouts() -> None:
    z, y, given_ = _data(3, rollouts=60)
    low, high = clustered_interval(residuals(z, given_), residuals(y, given_))
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(300):
        rows = rng.integers(60, size=60)
        drawn.append(correlate(z[rows], y[rows], given_[rows]).partial_r)
    expected = np.quantile(drawn, [0.025, 0.975], axis=0)
    np.testing.assert_allclose([low, high], expected, atol=0.06)
    assert (high - low).mean() == pytest.approx((expected[1] - expected[0]).mean(), rel=0.15)
