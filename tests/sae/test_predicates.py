"""Features against predicates: plain references, planted detectors, and how often noise is found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score

from sae.predicates import f1_interval, random_half, score_predicates

QUANTILES = (0.5, 0.9)


def noise(seed: int, n: int = 200, features: int = 5, predicates: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Features that fire at a third of the rows, and predicates of different frequency."""
    rng = np.random.default_rng(seed)
    z = np.maximum(rng.normal(size=(n, features)) - 0.4, 0).astype(np.float32)
    return z, rng.random((n, predicates)) < np.linspace(0.1, 0.6, predicates)


def plain_f1(truth: np.ndarray, fires: np.ndarray) -> float:
    return float(2 * (truth & fires).sum() / (truth.sum() + fires.sum()))


def planted() -> tuple[np.ndarray, np.ndarray]:
    """As `noise`; feature 1 is predicate 2 with errors, and larger than elsewhere where predicate 0 holds, too."""
    rng = np.random.default_rng(9)
    z, holds = noise(3, n=600)
    z[:, 1] = (holds[:, 2] ^ (rng.random(600) < 0.1)) * rng.uniform(0.5, 1, 600)
    z[:, 3] = np.where(holds[:, 0], rng.uniform(1, 2, 600), z[:, 3].clip(0, 1))
    return z, holds


def corrected(truth: np.ndarray, fires: np.ndarray) -> float:
    """F1 above that of a feature that fires as often at random."""
    chance = 2 * fires.mean() * truth.mean() / (fires.mean() + truth.mean())
    return float((f1_score(truth, fires) - chance) / (1 - chance))


def test_scores_are_those_of_loops_and_scikit_learn() -> None:
    z, holds = planted()
    half = random_half(600, 4)
    scores = score_predicates(z, holds, half, quantiles=QUANTILES, n_permutations=60, seed=5, alpha=0.1, fewest=8)
    n_tests = 0
    for feature in range(5):
        values = z[half, feature]
        thresholds = [0.0, *(float(np.float32(q)) for q in np.quantile(values[values > 0], QUANTILES))]
        n_tests += 4 * len(thresholds)
        for predicate in range(4):
            truth = holds[half, predicate]
            found = [float(f1_score(truth, values > threshold)) for threshold in thresholds]
            best = int(np.argmax([corrected(truth, values > threshold) for threshold in thresholds]))
            at = (feature, predicate)
            assert scores.threshold[at] == thresholds[best]
            assert scores.f1[at] == pytest.approx(found[best])
            fires, out = z[~half, feature] > thresholds[best], holds[~half, predicate]
            assert scores.f1_heldout[at] == pytest.approx(f1_score(out, fires))
            assert scores.precision[at] == pytest.approx(precision_score(out, fires))
            assert scores.recall[at] == pytest.approx(recall_score(out, fires))
            assert scores.n_true[at] == holds[:, predicate].sum()
            assert scores.n_fired[at] == (z[:, feature] > thresholds[best]).sum()
            assert scores.ci_low[at] <= scores.f1_heldout[at] <= scores.ci_high[at]
    assert scores.n_tests == n_tests
    assert not np.isnan(scores.z).any()


def test_moments_and_p_values_are_those_of_permutations() -> None:
    """Against F1 itself, computed for each permuted predicate."""
    z, holds = noise(1)
    half = random_half(200, 2)
    scores = score_predicates(z, holds, half, quantiles=(), n_permutations=39, fewest=1)
    rng = np.random.default_rng(0)
    fires, truth = z[half] > 0, holds[half]
    permuted = np.array(
        [
            [[plain_f1(truth[order, p], fires[:, f]) for p in range(4)] for f in range(5)]
            for order in (rng.permutation(100) for _ in range(400))
        ]
    )
    error = permuted.std(0) / 20
    assert (np.abs(permuted.mean(0) - scores.null_mean) < 5 * error).all()
    np.testing.assert_allclose((scores.f1 - scores.null_mean) / scores.z, permuted.std(0), rtol=0.2)
    for at in np.ndindex(5, 4):
        assert scores.p_familywise[at] == (1 + (scores.max_z >= scores.z[at]).sum()) / 40
    assert len(scores.max_z) == 39


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from([(19, 0.05), (40, 0.1), (99, 0.05)]))
def test_the_threshold_is_where_p_reaches_alpha(seed: int, setting: tuple[int, float]) -> None:
    n_permutations, alpha = setting
    z, holds = noise(seed, n=120)
    z[:, 0] += holds[:, 3]
    scores = score_predicates(z, holds, random_half(120, 0), n_permutations=n_permutations, alpha=alpha, fewest=3)
    decided = np.abs(scores.f1 - scores.null_threshold) > 1e-6  # the rest are ties, but for rounding
    assert ((scores.f1 > scores.null_threshold) == (scores.p_familywise <= alpha))[decided].all()
    assert (scores.p_familywise > alpha)[~decided & np.isfinite(scores.f1)].all()


def test_noise_is_found_in_one_family_of_ten() -> None:
    """At alpha = 0.1, in any test of a family: 30 of 300 are expected, with a standard deviation of 5.2."""
    found = 0
    for seed in range(300):
        z, holds = noise(seed, n=100)
        scores = score_predicates(
            z, holds, random_half(100, seed), quantiles=(0.5,), n_permutations=19, seed=seed, alpha=0.1, fewest=5
        )
        found += bool((scores.p_familywise <= 0.1).any())
    assert 15 <= found <= 46


def test_planted_detectors_are_found_and_nothing_else() -> None:
    z, holds = planted()
    scores = score_predicates(z, holds, random_half(600, 7), n_permutations=99)
    found = {(int(feature), int(predicate)) for feature, predicate in np.argwhere(scores.p_familywise <= 0.05)}
    assert found == {(1, 2), (3, 0)}
    assert scores.p_familywise[1, 2] == 0.01
    assert scores.f1_heldout[3, 0] > 0.8 and scores.threshold[3, 0] > 0.5
    assert scores.f1_heldout[1, 2] == pytest.approx(2 * 0.9 / (2 * 0.9 + 0.1 + 0.1 * 0.57 / 0.43), abs=0.08)


@pytest.mark.parametrize(("hit", "missed"), [(0.15, 0.1), (0.02, 0.3), (0.2, 0.004)])
def test_intervals_cover_in_nineteen_cases_of_twenty(hit: float, missed: float) -> None:
    rng = np.random.default_rng(11)
    counts = rng.multinomial(400, [hit, missed, 1 - hit - missed], size=4000)
    low, high = f1_interval(counts[:, 0], counts[:, 1])
    true = 2 * hit / (2 * hit + missed)
    assert 0.93 < ((low <= true) & (true <= high)).mean() < 0.975


def test_interval_at_the_edges() -> None:
    low, high = f1_interval(np.array([0, 50, 0]), np.array([50, 0, 0]))
    assert low[0] == 0 and 0 < high[0] < 0.15
    assert 0.9 < low[1] < 1 and high[1] == 1
    assert np.isnan(low[2]) and np.isnan(high[2])


def test_tests_of_too_few_rows_are_not_made() -> None:
    z, holds = noise(2)
    half = random_half(200, 1)
    z[:, 0] = 0
    z[np.flatnonzero(half)[:4], 0] = 1  # fires four times on the selection
    holds[:, 1] = True
    scores = score_predicates(z, holds, half, fewest=5)
    for values in (scores.f1, scores.f1_heldout, scores.z, scores.p_familywise, scores.threshold, scores.ci_low):
        assert np.isnan(values[0]).all() and np.isnan(values[:, 1]).all()
        assert not np.isnan(values[1:, [0, 2, 3]]).any()
    assert not scores.n_fired[0].any() and (scores.n_true[:, 1] == 200).all()


def test_features_may_be_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    z, holds = planted()
    whole = score_predicates(z, holds, random_half(600, 1))
    monkeypatch.setattr("sae.predicates.CHUNK", 2 * 300 * 6)
    parts = score_predicates(z, holds, random_half(600, 1))
    for name, values in vars(whole).items():
        np.testing.assert_array_equal(values, getattr(parts, name))


@given(st.integers(2, 200), st.integers(0, 2**31))
def test_half_is_half(n: int, seed: int) -> None:
    assert random_half(n, seed).sum() == n // 2
    assert (random_half(n, seed) == random_half(n, seed)).all()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"z": np.ones((9, 2))}, "expected features"),
        ({"z": np.full((10, 2), np.inf)}, "not finite"),
        ({"predicates": np.ones((10, 3))}, "boolean"),
        ({"selection": np.zeros(10, dtype=bool)}, "leave some"),
        ({"quantiles": (0.5, 1.0)}, "quantiles"),
        ({"n_permutations": 18}, "take 19"),
    ],
)
def test_what_makes_no_sense_is_refused(changed: dict, words: str) -> None:
    given = {
        "z": np.ones((10, 2)),
        "predicates": np.ones((10, 3), dtype=bool),
        "selection": np.arange(10) < 5,
        "n_permutations": 19,
    } | changed
    with pytest.raises(ValueError, match=words):
        score_predicates(given.pop("z"), given.pop("predicates"), given.pop("selection"), **given)
