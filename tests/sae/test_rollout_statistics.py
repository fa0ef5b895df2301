"""Intervals by rollout, held-out halves, and the whole bundle."""

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sae import permutation_null as permutation_null_module
from sae import rollout_statistics
from sae.permutation_null import permutation_null, rollout_permutations
from sae.rollout_statistics import clustered_interval, correlate, correlate_rollouts, split_halves

Floats = NDArray[np.float64]


def dependent(rng: np.random.Generator, n_rollouts: int, n_decisions: int) -> tuple[Floats, Floats]:
    """z and y [R, T, 1] that share a trait of the rollout: r = 0.5, but few independent rows."""
    trait = rng.standard_normal((n_rollouts, 1, 1))
    noise = rng.standard_normal((2, n_rollouts, n_decisions, 1))
    return trait + noise[0], trait + noise[1]


def test_coverage_is_nominal_where_counting_decisions_fails() -> None:
    rng = np.random.default_rng(0)
    replicates = 400
    covered = naive = 0
    for _ in range(replicates):
        z, y = dependent(rng, 40, 12)
        low, high = clustered_interval(z, y)
        covered += bool(low[0, 0] <= 0.5 <= high[0, 0])
        r = float(np.corrcoef(z.ravel(), y.ravel())[0, 1])
        naive += bool(abs(np.arctanh(r) - np.arctanh(0.5)) < 1.96 / np.sqrt(z.size - 3))
    lower, upper = scipy.stats.binom.interval(0.999, replicates, 0.95)
    # A sandwich of 40 clusters is known to cover a little less than nominal.
    assert lower - 0.02 * replicates <= covered <= upper
    assert naive < 0.75 * replicates


def test_interval_agrees_with_a_bootstrap_of_rollouts() -> None:
    rng = np.random.default_rng(1)
    z, y = dependent(rng, 150, 8)
    z = np.concatenate([z, rng.standard_normal(z.shape), -z + rng.standard_normal(z.shape)], axis=2)
    drawn = []
    for _ in range(1500):
        rows = rng.integers(0, 150, 150)
        drawn.append(np.corrcoef(np.column_stack([z[rows].reshape(-1, 3), y[rows].ravel()]), rowvar=False)[:3, 3])
    expected = np.quantile(drawn, [0.025, 0.975], axis=0)
    low, high = clustered_interval(z, y)
    width = expected[1] - expected[0]
    assert (np.abs(low[:, 0] - expected[0]) < 0.15 * width).all()
    assert (np.abs(high[:, 0] - expected[1]) < 0.15 * width).all()


def test_strata_take_out_what_the_design_fixes() -> None:
    """Differences between variants that every repetition of the design would show are no uncertainty."""
    rng = np.random.default_rng(2)
    strata = np.repeat([0, 1], 30)
    z, y = 0.1 * rng.standard_normal((2, 60, 5, 1))
    z[strata == 1] += 3
    y[strata == 1, :, :] += 3
    y[strata == 1, :2] -= 2
    with_strata = clustered_interval(z, y, strata=strata)
    without = clustered_interval(z, y)
    assert (with_strata.high - with_strata.low < 0.8 * (without.high - without.low)).all()


def test_chunking_perfect_and_constant_latents() -> None:
    rng = np.random.default_rng(3)
    z, y = rng.standard_normal((10, 6, 5)), rng.standard_normal((10, 6, 2))
    z[:, :, 1] = -2 * y[:, :, 0] + 1
    z[:, :, 2] = 0.1
    whole, cut = clustered_interval(z, y), clustered_interval(z, y, chunk=2)
    for one, two in zip(whole, cut, strict=True):
        np.testing.assert_allclose(one, two)
    assert np.isnan(whole.low[2]).all() and np.isfinite(np.delete(whole.low, 2, 0)).all()
    assert whole.low[1, 0] == whole.high[1, 0] == pytest.approx(-1)
    r = correlate(z, y).r
    ordinary = [0, 3, 4]
    assert (whole.low[ordinary] < r[ordinary]).all() and (r[ordinary] < whole.high[ordinary]).all()


def test_a_stratum_of_one_rollout_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two rollouts in each stratum"):
        clustered_interval(np.zeros((3, 2, 1)), np.zeros((3, 2, 1)), strata=[0, 0, 1])
    with pytest.raises(ValueError, match=r"strata must have shape \[3\]"):
        clustered_interval(np.zeros((3, 2, 1)), np.zeros((3, 2, 1)), strata=[0, 0])


@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.integers(0, 2**31))
def test_halves_are_balanced_in_every_stratum(strata: list[int], seed: int) -> None:
    selection = split_halves(strata, seed=seed)
    for name in set(strata):
        mine = selection[np.array(strata) == name]
        assert abs(2 * mine.sum() - len(mine)) <= 1
    assert abs(2 * selection.sum() - len(selection)) <= 1
    np.testing.assert_array_equal(selection, split_halves(strata, seed=seed))


def test_halves_depend_on_the_seed_and_need_two() -> None:
    strata = ["a"] * 20 + ["b"] * 20
    assert (split_halves(strata, seed=0) != split_halves(strata, seed=1)).any()
    with pytest.raises(ValueError, match="at least two rollouts"):
        split_halves([0], seed=0)


def test_the_bundle_holds_what_its_parts_say() -> None:
    rng = np.random.default_rng(4)
    z, y, c = (rng.standard_normal((12, 7, k)) for k in (5, 3, 2))
    z[:, :, 0] += y[:, :, 1]
    strata = np.repeat([0, 1, 2], 4)
    selection = split_halves(strata, seed=0)
    permutations = rollout_permutations(strata, 50, seed=0)
    bundle = correlate_rollouts(
        torch.from_numpy(z).float(),
        y,
        covariates=c,
        strata=strata,
        selection=selection,
        permutations=permutations,
    )

    def expected(rows: NDArray[np.bool_]) -> Floats:
        flat = np.column_stack([z[rows].reshape(-1, 5), y[rows].reshape(-1, 3)])
        return np.corrcoef(flat, rowvar=False)[:5, 5:]

    np.testing.assert_allclose(bundle.r, expected(np.ones(12, dtype=bool)), atol=1e-6)
    np.testing.assert_allclose(bundle.r_selection, expected(selection), atol=1e-6)
    np.testing.assert_allclose(bundle.r_heldout, expected(~selection), atol=1e-6)
    np.testing.assert_allclose(bundle.r_partial, correlate(z, y, c).partial_r, atol=1e-6)
    null = permutation_null(z, y, strata=strata, permutations=permutations)
    np.testing.assert_allclose(bundle.null_sd, null.sd, rtol=1e-5)
    np.testing.assert_allclose(bundle.null_mean, null.mean, atol=1e-6)
    np.testing.assert_allclose(bundle.z, (bundle.r - bundle.null_mean) / bundle.null_sd, rtol=1e-5)
    assert (bundle.ci_low < bundle.r).all() and (bundle.r < bundle.ci_high).all()
    assert (bundle.n, bundle.n_rollouts, bundle.family.n_tests) == (84, 12, 15)


@pytest.mark.parametrize(("latents", "products"), [(1, 1), (3 * 84, 200), (2**20, 7)])
def test_the_bundle_does_not_depend_on_how_much_is_taken_at_once(
    monkeypatch: pytest.MonkeyPatch, latents: int, products: int
) -> None:
    rng = np.random.default_rng(5)
    z, y, c = (rng.standard_normal((12, 7, k)) for k in (5, 3, 2))
    z[:, :, 0] += y[:, :, 1]
    z[:, :, 2], y[:, :, 2] = 1.0, c[:, :, 0]
    strata = np.repeat([0, 1, 2], 4)
    given = {
        "covariates": c,
        "strata": strata,
        "selection": split_halves(strata, seed=0),
        "permutations": rollout_permutations(strata, 50, seed=0),
    }
    whole = correlate_rollouts(z, y, **given)
    monkeypatch.setattr(rollout_statistics, "CHUNK", latents)
    monkeypatch.setattr(permutation_null_module, "CHUNK", products)
    cut = correlate_rollouts(z, y, **given)
    for name, value in vars(whole).items():
        if name != "family":
            np.testing.assert_allclose(getattr(cut, name), value, rtol=1e-5, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(cut.family.max_z, whole.family.max_z, rtol=1e-5)
    assert cut.family.n_tests == whole.family.n_tests and cut.family.pooled.sum() == whole.family.pooled.sum()
