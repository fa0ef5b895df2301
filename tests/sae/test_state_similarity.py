"""Maps, tables and decoding of states, against plain computation and against what is known of them."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform
from sklearn.svm import LinearSVC

from sae.decoding import balanced_accuracy, leave_one_rollout_out, permuted_accuracy
from sae.similarity import permuted_contrast, permuted_similarity
from sae.state_maps import aligned, at_last_encounter, cosine, mds, state_means

Floats = NDArray[np.float64]
GROUPS = np.repeat([0, 1, 2], 4)


def orders(rng: np.random.Generator, n: int, n_states: int) -> NDArray[np.int64]:
    return rng.permuted(np.tile(np.arange(n_states), (n, 1)), axis=1)


def test_each_state_as_it_was_met_last_and_on_average() -> None:
    states = np.array([2, 0, 2, 1, 0])
    x = np.arange(10.0).reshape(5, 2)
    np.testing.assert_array_equal(at_last_encounter(x, states, 4), [x[4], x[3], x[2], [np.nan] * 2])
    np.testing.assert_array_equal(state_means(x, states, 4), [x[[1, 4]].mean(0), x[3], x[[0, 2]].mean(0), [np.nan] * 2])


def test_a_plane_shows_cosine_distances_that_fit_on_one() -> None:
    """Of three directions any distances do."""
    points = np.array([[1.0, 0.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]])
    plane = mds(points, seed=0)
    np.testing.assert_allclose(pdist(plane[:3]), pdist(points[:3], "cosine"), atol=1e-3)
    assert np.isnan(plane[3]).all() and np.isnan(mds(points[1:], seed=0)).all()
    np.testing.assert_array_equal(mds(points, seed=0), plane)


def test_groups_lie_apart_on_a_map() -> None:
    rng = np.random.default_rng(0)
    plane = mds(np.eye(3)[GROUPS] + 0.2 * rng.standard_normal((12, 3)), seed=1)
    distance = squareform(pdist(plane)) + 9 * np.eye(12)
    assert (GROUPS[distance.argmin(1)] == GROUPS).all()


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_a_turned_map_is_turned_back(seed: int, mirrored: bool) -> None:
    rng = np.random.default_rng(seed)
    plane = rng.standard_normal((6, 2))
    angle = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag(
        [1, 1 - 2 * mirrored]
    )
    turned = plane @ rotation + rng.standard_normal(2)
    turned[0] = np.nan
    back = aligned(turned, plane)
    np.testing.assert_allclose(back[1:], plane[1:], atol=1e-9)
    assert np.isnan(back[0]).all()


@given(st.integers(0, 2**32 - 1), st.integers(3, 8))
def test_tables_of_pairs_against_scipy(seed: int, n_states: int) -> None:
    rng = np.random.default_rng(seed)
    points, nearness = rng.standard_normal((n_states + 1, 4)), rng.random((n_states + 1, n_states + 1)).round(1)
    points[1] = np.nan
    groups = np.arange(n_states + 1) % 2
    permutations = orders(rng, 5, n_states + 1)
    table = cosine(points)
    known = np.delete(np.arange(n_states + 1), 1)
    above = np.triu_indices(n_states, 1)
    r, contrast = permuted_similarity(table, nearness, permutations), permuted_contrast(table, groups, permutations)
    for row, order in enumerate([np.arange(n_states + 1), *permutations]):
        place = np.argsort(order[known])  # the known states in the order that the permutation leaves them in
        permuted = table[np.ix_(known[place], known[place])][above]
        other = (nearness + nearness.T)[np.ix_(known, known)][above]
        if np.ptp(other) > 0:
            assert r[row] == pytest.approx(scipy.stats.spearmanr(permuted, other).statistic)
        same = groups[known][above[0]] == groups[known][above[1]]
        if same.any() and not same.all():
            assert contrast[row] == pytest.approx(permuted[same].mean() - permuted[~same].mean())


def test_a_table_that_says_nothing_has_no_similarity() -> None:
    permutations = orders(np.random.default_rng(0), 3, 4)
    table = cosine(np.random.default_rng(1).standard_normal((4, 3)))
    assert np.isnan(permuted_similarity(table, np.ones((4, 4)), permutations)).all()
    assert np.isnan(permuted_contrast(table, np.zeros(4, dtype=np.int64), permutations)).all()
    assert np.isnan(permuted_similarity(cosine(np.full((4, 3), np.nan)), table, permutations)).all()


def representations(rng: np.random.Generator, effect: float, width: int = 10) -> tuple[Floats, NDArray[np.bool_]]:
    """Eight rollouts of nine states, three of which are labelled; a direction tells them, as strongly as wanted."""
    labels = np.arange(9) % 3 == 0
    x = rng.standard_normal((8, 9, width)) * np.logspace(0, 3, width)
    x[..., 0] += effect * labels
    return x, labels


def test_labels_are_decoded_in_rollouts_not_trained_on() -> None:
    x, labels = representations(np.random.default_rng(0), effect=20.0)
    known = np.ones((8, 9), dtype=bool)
    assert balanced_accuracy(leave_one_rollout_out(x, labels, seed=0), labels, known).min() == 1.0
    x[2, :, 0] = 20 - x[2, :, 0]  # nothing of its own rollout reaches a machine
    assert balanced_accuracy(leave_one_rollout_out(x, labels, seed=0), labels, known)[2] == 0.0


@pytest.mark.parametrize("width", [10, 200])
def test_decoding_against_scikit_learn_by_hand(width: int) -> None:
    """With more features than rows it works in the span of the rows."""
    x, labels = representations(np.random.default_rng(1), effect=2.0, width=width)
    x[3, 4] = np.nan
    predicted = leave_one_rollout_out(x, labels, seed=0)
    for i in range(8):
        others = np.delete(np.arange(8), i)
        train, target = x[others].reshape(-1, width), np.tile(labels, 7)
        train, target = train[np.isfinite(train).all(1)], target[np.isfinite(train).all(1)]
        mean, sd = train.mean(0), train.std(0)
        machine = LinearSVC(class_weight="balanced", dual=False, tol=1e-8).fit((train - mean) / sd, target)
        test = np.isfinite(x[i]).all(1)
        values = machine.decision_function((x[i, test] - mean) / sd)
        sure = np.abs(values) > 1e-3
        np.testing.assert_array_equal(predicted[i, test][sure], (values > 0)[sure])
        assert not predicted[i, ~test].any()


def test_of_many_rollouts_several_are_left_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two machines each half is decoded by what was learned from the other."""
    monkeypatch.setattr("sae.decoding.MACHINES", 2)
    x, labels = representations(np.random.default_rng(5), effect=20.0)
    x[::2, :, 0] = 20 - x[::2, :, 0]
    predicted = leave_one_rollout_out(x, labels, seed=0)
    np.testing.assert_array_equal(predicted, np.tile(~labels, (8, 1)))


def test_balanced_accuracy_counts_both_labels_alike() -> None:
    labels = np.array([True, False, False, False])
    predicted = np.array([[False] * 4, [True, True, False, False]])
    known = np.array([[True] * 4, [True, True, True, False]])
    np.testing.assert_allclose(balanced_accuracy(predicted, labels, known), [0.5, 0.75])
    assert np.isnan(balanced_accuracy(predicted, labels, known & ~labels)).all()


def test_permuted_labels_are_no_more_significant_than_they_say() -> None:
    """The share of representations without a label in them whose mean accuracy is among the highest 5 %."""
    rng = np.random.default_rng(2)
    replicates, found, means = 40, 0, []
    for _ in range(replicates):
        x, labels = representations(rng, effect=0.0, width=3)
        predicted = leave_one_rollout_out(x, labels, seed=0)
        permutations = np.stack([orders(rng, 99, 9) for _ in range(8)], axis=1)
        accuracy = permuted_accuracy(predicted, labels, np.ones((8, 9), dtype=bool), permutations).mean(1)
        found += bool((accuracy >= accuracy[0]).mean() <= 0.05)
        means.append(accuracy[1:].mean())
    assert found <= scipy.stats.binom.ppf(0.999, replicates, 0.05)
    assert abs(np.mean(means) - 0.5) < 0.02


def test_what_cannot_be_decoded_is_refused() -> None:
    x, labels = representations(np.random.default_rng(3), effect=1.0)
    with pytest.raises(ValueError, match="at least two"):
        leave_one_rollout_out(x[:1], labels, seed=0)
    with pytest.raises(ValueError, match="only one of the two labels"):
        leave_one_rollout_out(x, np.zeros(9, dtype=bool), seed=0)
