"""A block's part of the family's null, written and read back, judges as the original does."""

import numpy as np
import pytest

from sae.permutation_null import FamilyNull, permutation_null, rollout_permutations


def _null(seed: int) -> FamilyNull:
    rng = np.random.default_rng(seed)
    z, y = rng.normal(size=(12, 5, 7)), rng.normal(size=(12, 5, 3))
    permutations = rollout_permutations(np.repeat([0, 1], 6), 59, seed=1)
    return permutation_null(z, y, strata=np.repeat([0, 1], 6), permutations=permutations).family


def test_p_q_and_threshold_survive() -> None:
    null = _null(0)
    back = FamilyNull.from_tensors(null.to_tensors())
    z = np.linspace(0, 6, 50)
    np.testing.assert_array_equal(back.p_familywise(z), null.p_familywise(z))
    np.testing.assert_array_equal(back.q_value(z), null.q_value(z))
    assert back.threshold_z(0.05) == null.threshold_z(0.05)
    assert back.n_tests == null.n_tests == 21


def test_merging_after_reading_is_merging_before_writing() -> None:
    together = _null(0)
    together.merge(_null(1))
    parts = [FamilyNull.from_tensors(_null(seed).to_tensors()) for seed in (0, 1)]
    parts[0].merge(parts[1])
    z = np.linspace(0, 6, 50)
    np.testing.assert_array_equal(parts[0].p_familywise(z), together.p_familywise(z))
    np.testing.assert_array_equal(parts[0].q_value(z), together.q_value(z))


def test_reading_keeps_the_guard_against_other_permutations() -> None:
    back = FamilyNull.from_tensors(_null(0).to_tensors())
    rng = np.random.default_rng(2)
    z, y = rng.normal(size=(12, 5, 2)), rng.normal(size=(12, 5, 3))
    other = permutation_null(z, y, permutations=rollout_permutations(np.zeros(12), 59, seed=9)).family
    with pytest.raises(ValueError, match="same permutations"):
        back.merge(other)
