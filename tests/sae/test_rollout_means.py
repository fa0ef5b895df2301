"""Means over rollouts: their interval, and their null in a family of blocks."""

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from sae.permutation_null import rollout_permutations
from sae.rollout_means import family_null, mean_interval, permuted_means

Floats = NDArray[np.float64]


def test_the_interval_is_students() -> None:
    values = np.array([0.1, 0.4, np.nan, 0.3, 0.25])
    known = values[np.isfinite(values)]
    low, high = scipy.stats.t.interval(0.9, 3, known.mean(), scipy.stats.sem(known))
    assert mean_interval(values, confidence=0.9) == pytest.approx((known.mean(), low, high, 4))


def test_without_two_rollouts_there_is_no_interval() -> None:
    assert mean_interval(np.array([np.nan, 2.0])) == pytest.approx((2.0, np.nan, np.nan, 1), nan_ok=True)
    assert mean_interval(np.array([np.nan])) == pytest.approx((np.nan, np.nan, np.nan, 0), nan_ok=True)


def test_means_of_permuted_pairs() -> None:
    rng = np.random.default_rng(0)
    pairs = rng.standard_normal((6, 6, 2))
    pairs[1, :, 0] = np.nan
    permutations = rollout_permutations(np.zeros(6), 20, seed=1)
    means = permuted_means(pairs, permutations)
    for row, order in zip(means, [np.arange(6), *permutations], strict=True):
        np.testing.assert_allclose(row, np.nanmean(pairs[np.arange(6), order], axis=0))


def family(rng: np.random.Generator, n_rollouts: int, n_blocks: int, effect: float = 0.0) -> Floats:
    """Means of blocks of different scale that share their noise, as blocks of one model do."""
    shared = rng.standard_normal((n_rollouts, n_rollouts, 1))
    pairs = shared + rng.standard_normal((n_rollouts, n_rollouts, n_blocks)) + effect * np.eye(n_rollouts)[..., None]
    pairs = pairs * np.logspace(0, -2, n_blocks) + np.arange(n_blocks)
    return permuted_means(pairs, rollout_permutations(np.zeros(n_rollouts), 99, seed=int(rng.integers(2**31))))


def test_a_family_without_effect_exceeds_its_threshold_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    replicates = 600
    false = sum(
        bool((means[0] > family_null(means).threshold).any())
        for means in (family(rng, 8, 5) for _ in range(replicates))
    )
    lower, upper = scipy.stats.binom.interval(0.999, replicates, 0.05)
    assert lower <= false <= upper


def test_an_effect_is_found_in_every_block_whatever_its_scale() -> None:
    means = family(np.random.default_rng(4), 12, 5, effect=4.0)
    null = family_null(means)
    assert (means[0] > null.threshold).all()
    assert np.abs(null.mean - np.arange(5)).max() < 0.5


def test_blocks_without_a_mean_are_no_part_of_the_family() -> None:
    means = family(np.random.default_rng(5), 8, 3)
    missing = np.column_stack([means, np.full(len(means), np.nan)])
    null, whole = family_null(missing), family_null(means)
    np.testing.assert_allclose(null.threshold, [*whole.threshold, np.nan])
    assert np.isnan(family_null(missing[:, 3:]).threshold).all()


def test_too_few_permutations_find_nothing() -> None:
    means = family(np.random.default_rng(6), 12, 2, effect=4.0)[:19]
    assert not (means[0] > family_null(means).threshold).any()
