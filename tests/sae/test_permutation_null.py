"""The null of permuted rollouts: against brute force, calibrated, and able to find what is there."""

from itertools import permutations as all_orders
from itertools import product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sae import permutation_null as module
from sae.correlation import StreamingCorrelation
from sae.permutation_null import BINS_PER_UNIT, FamilyNull, permutation_null, rollout_permutations

Floats = NDArray[np.float64]


def pooled_r(z: Floats, y: Floats) -> Floats:
    correlation = StreamingCorrelation(z.shape[2], y.shape[2])
    correlation.update(z.reshape(-1, z.shape[2]), y.reshape(-1, y.shape[2]))
    return correlation.r


def trending(rng: np.random.Generator, n_rollouts: int, n_decisions: int, n: int) -> Floats:
    """Autocorrelated variables with a common trend [R, T, n]: a walk in each rollout and a ramp."""
    walk = rng.standard_normal((n_rollouts, n_decisions, n)).cumsum(1)
    return walk + np.linspace(0, 6, n_decisions)[:, None] * rng.uniform(0.5, 1.5, n)


@pytest.mark.parametrize("strata", [[0, 0, 0, 0, 0], [1, 0, 1, 0, 1]])
def test_moments_are_exact_over_all_permutations(strata: list[int]) -> None:
    rng = np.random.default_rng(0)
    z, y = trending(rng, 5, 6, 4), trending(rng, 5, 6, 3)
    names = np.array(strata)
    groups = [np.flatnonzero(names == name) for name in np.unique(names)]
    orders = []
    for choice in product(*[all_orders(group) for group in groups]):
        order = np.arange(5)
        for group, chosen in zip(groups, choice, strict=True):
            order[group] = chosen
        orders.append(order)
    every = np.array([pooled_r(z, y[order]) for order in orders])
    null = permutation_null(z, y, strata=strata, permutations=np.array(orders))
    np.testing.assert_allclose(null.mean, every.mean(0), atol=1e-12)
    np.testing.assert_allclose(null.sd, every.std(0), rtol=1e-5)
    np.testing.assert_allclose(null.z, (every[0] - every.mean(0)) / every.std(0), rtol=1e-5)
    largest = np.abs((every - every.mean(0)) / every.std(0)).max((1, 2))
    np.testing.assert_allclose(null.family.max_z, np.concatenate([largest[:1], largest]), rtol=1e-4)


def test_trends_move_the_null_and_not_z() -> None:
    """Latents and signals that share nothing but a trend have a large r, a large null mean and a small z."""
    rng = np.random.default_rng(1)
    ramp = np.linspace(0, 5, 30)[:, None]
    z, y = ramp + rng.standard_normal((2, 40, 30, 1))
    null = permutation_null(z, y, permutations=rollout_permutations(np.zeros(40), 10, seed=0))
    assert pooled_r(z, y)[0, 0] > 0.6
    assert null.mean[0, 0] > 0.6
    assert abs(null.z[0, 0]) < 3


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=30), st.integers(0, 1000))
def test_permutations_stay_within_strata(strata: list[int], seed: int) -> None:
    names = np.array(strata)
    drawn = rollout_permutations(names, 20, seed=seed)
    assert (np.sort(drawn, axis=1) == np.arange(len(names))).all()
    assert (names[drawn] == names).all()
    np.testing.assert_array_equal(drawn, rollout_permutations(names, 20, seed=seed))


def test_permutations_are_uniform() -> None:
    drawn = rollout_permutations([0, 0, 0, 1, 1], 12_000, seed=0)
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 12
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_permutations_across_strata_are_refused() -> None:
    z = np.random.default_rng(0).standard_normal((4, 3, 2))
    with pytest.raises(ValueError, match="move rollouts between strata"):
        permutation_null(z, z, strata=[0, 0, 1, 1], permutations=np.array([[2, 3, 0, 1]]))


def family_errors(replicates: int, *, by_rollout: bool) -> int:
    """Families with a finding at 5 %, out of `replicates` where latents and signals are unrelated."""
    rng = np.random.default_rng(2)
    errors = 0
    for seed in range(replicates):
        z, y = trending(rng, 12, 15, 10), trending(rng, 12, 15, 3)
        if not by_rollout:  # what is wrong with counting decisions: each one a rollout of its own
            z, y = z.reshape(-1, 1, 10), y.reshape(-1, 1, 3)
        strata = np.repeat([0, 1, 2], len(z) // 3)
        null = permutation_null(z, y, strata=strata, permutations=rollout_permutations(strata, 99, seed=seed))
        p = null.family.p_familywise(null.z)
        found = np.abs(null.z) > null.family.threshold_z(0.05)
        assert (found == (p <= 0.05)).all()
        errors += bool(found.any())
    return errors


def test_family_wise_error_is_five_per_cent() -> None:
    low, high = scipy.stats.binom.interval(0.99, 400, 0.05)
    assert low <= family_errors(400, by_rollout=True) <= high


def test_permuting_decisions_would_not_be_calibrated() -> None:
    assert family_errors(30, by_rollout=False) > 25


def planted(n_latents: int = 40) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(3)
    z, y = trending(rng, 40, 20, n_latents), trending(rng, 40, 20, 4)
    z[:, :, 7] -= 2.0 * (y[:, :, 2] - y[:, :, 2].mean(0))
    return z, y


def test_a_planted_latent_is_found() -> None:
    z, y = planted()
    null = permutation_null(z, y, permutations=rollout_permutations(np.zeros(40), 500, seed=0))
    p, q = null.family.p_familywise(null.z), null.family.q_value(null.z)
    assert p[7, 2] == pytest.approx(1 / 501)
    assert null.z[7, 2] < 0
    assert q[7, 2] < 0.01
    others = np.ones(p.shape, dtype=bool)
    others[7, 2] = False
    assert (p[others] > 0.05).all() and (q[others] > 0.05).all()


def test_q_values_control_false_discoveries() -> None:
    """Ten related latents among forty: few of those with q <= 0.1 are false, most true ones are there."""
    rng = np.random.default_rng(4)
    false = found = hits = 0
    for seed in range(20):
        z, y = trending(rng, 30, 15, 40), trending(rng, 30, 15, 2)
        z[:, :, :10] += 1.5 * (y - y.mean(0))[:, :, :1]
        null = permutation_null(z, y, permutations=rollout_permutations(np.zeros(30), 200, seed=seed))
        chosen = null.family.q_value(null.z) <= 0.1
        found += int(chosen.sum())
        hits += int(chosen[:10, 0].sum())
        false += int(chosen.sum() - chosen[:10, 0].sum())
    assert hits > 0.8 * 20 * 10
    assert false <= 0.15 * found


def test_blocks_merge_to_the_null_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    z, y = planted(30)
    drawn = rollout_permutations(np.zeros(40), 60, seed=1)
    whole = permutation_null(z, y, permutations=drawn)
    monkeypatch.setattr(module, "CHUNK", 1)  # and one latent at a time
    merged: FamilyNull | None = None
    for block in (z[:, :, :3], z[:, :, 3:10], z[:, :, 10:]):
        part = permutation_null(block, y, permutations=drawn).family
        if merged is None:
            merged = part
        else:
            merged.merge(part)
    assert merged is not None and merged.n_tests == whole.family.n_tests == 120
    np.testing.assert_allclose(merged.max_z, whole.family.max_z, rtol=1e-5)
    np.testing.assert_allclose(merged.p_familywise(whole.z), whole.family.p_familywise(whole.z))
    np.testing.assert_allclose(merged.q_value(whole.z), whole.family.q_value(whole.z), rtol=0.02)
    other = permutation_null(z, y, permutations=rollout_permutations(np.zeros(40), 60, seed=2)).family
    with pytest.raises(ValueError, match="same permutations"):
        merged.merge(other)


def test_what_permuting_cannot_change_is_no_test() -> None:
    """Constant latents, and latents or signals that are a function of the step alone."""
    rng = np.random.default_rng(5)
    z, y = rng.standard_normal((14, 6, 4)), rng.standard_normal((14, 6, 3))
    z[:, :, 0] = 0.1
    z[:, :, 1] = np.arange(6) / 3
    y[:, :, 2] = np.log(np.arange(6) + 1.1)
    strata = np.repeat([0, 1], 7)  # a mean of seven equal numbers is seldom that number
    z[:7, :, 3] = np.sqrt(np.arange(6))  # varies in the second stratum only,
    y[7:, :, 1] = np.exp(np.arange(6) / 7)  # where this signal does not
    drawn = rollout_permutations(strata, 40, seed=0)
    null = permutation_null(z, y, strata=strata, permutations=drawn)
    untested = np.zeros((4, 3), dtype=bool)
    untested[:2], untested[:, 2], untested[3, 1] = True, True, True
    np.testing.assert_array_equal(np.isnan(null.z), untested)
    assert null.family.n_tests == 3
    assert int(null.family.pooled.sum()) == 3 * 41
    np.testing.assert_array_equal(np.isnan(null.family.p_familywise(null.z)), untested)
    np.testing.assert_array_equal(np.isnan(null.family.q_value(null.z)), untested)
    assert null.mean[1, 2] == pytest.approx(pooled_r(z, y)[1, 2])


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 30))
def test_p_and_q_are_monotone_and_never_zero(seed: int, n_tests: int, n_permutations: int) -> None:
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n_tests, 1)) * 2
    under = np.abs(rng.standard_normal((n_permutations, n_tests)))
    histogram = np.bincount((under * BINS_PER_UNIT).astype(int).ravel(), minlength=module.BINS)
    family = FamilyNull(z, under.max(1), histogram, 0)
    order = np.argsort(np.abs(z[:, 0]))
    for value in (family.p_familywise(z[order, 0]), family.q_value(z[order, 0])):
        assert (np.diff(value) <= 1e-12).all()
        assert (value >= 1 / (n_permutations + 1) - 1e-12).all() and (value <= 1).all()
    reference = [(1 + (under.max(1) >= abs(value)).sum()) / (n_permutations + 1) for value in z[:, 0]]
    largest = np.abs(z[:, 0]).argmax()
    assert family.p_familywise(z)[largest, 0] == pytest.approx(reference[largest])


def test_too_few_permutations_find_nothing() -> None:
    z, y = planted()
    null = permutation_null(z, y, permutations=rollout_permutations(np.zeros(40), 10, seed=0))
    assert not (np.abs(null.z) > null.family.threshold_z(0.05)).any()
