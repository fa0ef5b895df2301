"""Correlation with one column a state, rollout by rollout, and every pairing of rollouts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sae.permutation_null import rollout_permutations
from sae.state_correlation import (
    Held,
    LatentScores,
    PairedSignals,
    best_states,
    largest,
    state_correlation,
)

Floats = NDArray[np.float64]


def walk(rng: np.random.Generator, *shape: int) -> Floats:
    """Numbers that drift along axis 1, as signals of learning do."""
    return np.cumsum(rng.standard_normal(shape), axis=1)


def plain(x: Floats, y: Floats, covariates: Floats | None = None) -> Floats:
    """r of each rollout, feature and state, one at a time."""
    r = np.full((len(x), x.shape[2], y.shape[2]), np.nan)
    for i, feature, state in np.ndindex(r.shape):
        u, v = x[i, :, feature], y[i, :, state]
        if covariates is not None:
            design = np.column_stack([np.ones(len(u)), covariates[i]])
            u, v = (w - design @ np.linalg.lstsq(design, w, rcond=None)[0] for w in (u, v))
        if np.ptp(u) > 1e-9 and np.ptp(v) > 1e-9:
            r[i, feature, state] = np.corrcoef(u, v)[0, 1]
    return r


def by_rollout(x: Floats, y: Floats, covariates: Floats | None = None) -> Floats:
    """r of each rollout, [R, L, S]."""
    held = constant(len(x), covariates)
    return np.stack([state_correlation(own.leaves(u), own.leaves(v)) for u, v, own in zip(x, y, held, strict=True)])


def paired_largest(x: Floats, y: Floats, covariates: Floats | None = None) -> Floats:
    """Every rollout's features [R, T, L] with every rollout's signals [R, T, K, S], [R, R, K]."""
    held = constant(len(x), covariates)
    signals = PairedSignals(list(y), held)
    return np.stack([signals.largest(own.leaves(one), own) for one, own in zip(x, held, strict=True)])


def constant(n: int, covariates: Floats | None) -> list[Held]:
    """What is held constant in each rollout."""
    return [Held()] * n if covariates is None else [Held(one) for one in covariates]


def freed(values: Floats, covariates: Floats) -> Floats:
    """What least squares on one rollout's covariates [T, C] leaves of values [T, F]."""
    design = np.column_stack([np.ones(len(values)), covariates])
    return np.asarray(values - design @ np.linalg.lstsq(design, values, rcond=None)[0])


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(0, 2))
def test_each_rollout_against_numpy(seed: int, n_rollouts: int, n_covariates: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = walk(rng, n_rollouts, 12, 3), walk(rng, n_rollouts, 12, 4)
    x[0, :, 1] = 7.0
    y[-1, :, 2] = 0.0
    covariates = walk(rng, n_rollouts, 12, n_covariates) if n_covariates else None
    np.testing.assert_allclose(by_rollout(x, y, covariates), plain(x, y, covariates), atol=1e-9)


def test_a_latent_that_is_a_clock_has_no_r_given_the_clock() -> None:
    rng = np.random.default_rng(0)
    step = np.arange(30.0)
    x = np.stack([1e4 + 3 * step, np.log1p(step)], axis=1)[None]
    y = (step[:, None] + rng.standard_normal((30, 2)))[None]
    covariates = np.stack([step, 2 * step, np.ones(30)], axis=1)[None]  # collinear, and one constant
    assert (by_rollout(x, y) > 0.8).all()
    r = by_rollout(x, y, covariates)
    assert np.isnan(r[0, 0]).all()
    np.testing.assert_allclose(r[0, 1], plain(x, y, step[None, :, None])[0, 1], atol=1e-9)


def test_the_largest_r_is_signed_and_skips_what_has_none() -> None:
    r = np.array([[-0.5, np.nan, 0.2], [-0.1, np.nan, np.nan]])
    assert largest(r) == pytest.approx((-0.1 + 0.2) / 2)
    assert np.isnan(largest(np.full((2, 3), np.nan))) and np.isnan(largest(np.empty((0, 3))))


def test_latents_are_scored_by_the_state_that_they_follow_in_each_rollout() -> None:
    r = np.array(
        [
            [[0.2, 0.6], [-0.3, -0.1], [np.nan, np.nan]],
            [[0.8, 0.1], [np.nan, np.nan], [np.nan, np.nan]],
            [[-1.0, -1.0], [1.0, 1.0], [np.nan, np.nan]],
        ]
    )
    best = best_states(r)
    np.testing.assert_allclose(best, [[0.6, -0.1, np.nan], [0.8, np.nan, np.nan], [-1.0, 1.0, np.nan]])
    scores = LatentScores(3)
    assert np.isnan(scores.mean).all()
    for one in best:
        scores.add(one)
    np.testing.assert_allclose(scores.mean, [0.4 / 3, 0.9 / 3, np.nan])


@pytest.mark.parametrize("chunk", [1, 2**22])
def test_all_pairs_of_rollouts(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sae.state_correlation.CHUNK", chunk)
    rng = np.random.default_rng(1)
    x, y, covariates = walk(rng, 5, 20, 6), walk(rng, 5, 20, 2, 3), walk(rng, 5, 20, 1)
    x[2, :, :] = 1.0  # no latent is live in this rollout
    x[3, :, 4] = 0.0
    y[4, :, 1, 0] = 0.0
    for given_ in (None, covariates):
        pairs = paired_largest(x, y, given_)
        for i, j, k in np.ndindex(pairs.shape):
            if i == 2:
                assert np.isnan(pairs[i, j, k])
                continue
            if given_ is None:
                expected = largest(plain(x[i : i + 1], y[j : j + 1, :, k]))[0]
            else:  # each is freed of its own rollout's covariates, the signals then of the features' rollout's, too
                u, v = (freed(part, c) for part, c in ((x[i], given_[i]), (y[j, :, k], given_[j])))
                u, v = u[None], freed(v, given_[i])[None]
                expected = largest(plain(u, v))[0]
            assert pairs[i, j, k] == pytest.approx(expected, abs=1e-9)


def test_the_null_holds_where_most_dimensions_are_covariates() -> None:
    """Noise that has nothing to do with other noise, given the states that each rollout enters and leaves."""
    rng = np.random.default_rng(3)
    n_rollouts, n_decisions, n_states, n_runs, found = 8, 60, 10, 40, 0
    order = np.array([np.arange(n_rollouts), *rollout_permutations(np.zeros(n_rollouts), 39, seed=0)])
    for _ in range(n_runs):
        states = np.eye(n_states)[rng.integers(n_states, size=(n_rollouts, n_decisions + 1))]
        given_ = np.concatenate([states[:, 1:], states[:, :-1]], axis=2)
        x, y = (rng.standard_normal((n_rollouts, n_decisions, *shape)) for shape in ((12,), (1, n_states)))
        pairs = paired_largest(x, y, given_)[:, :, 0]
        means = pairs[np.arange(n_rollouts), order].mean(1)
        found += means[0] >= np.sort(means)[-2]  # of 40 the largest two are 5 %
    assert found <= 5  # 2 are expected; more than 5 come with a probability of 1.4 %


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.floats(-1e4, 1e4))
def test_scale_offset_and_the_order_of_states_do_not_matter(seed: int, scale: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = walk(rng, 3, 15, 4), walk(rng, 3, 15, 1, 5)
    pairs = paired_largest(x, y)
    order = rng.permutation(5)
    np.testing.assert_allclose(paired_largest(scale * x + offset, y[..., order] / scale - offset), pairs, atol=1e-6)
