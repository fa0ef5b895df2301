"""The parts of the TD error add up to it."""

import numpy as np
import pytest

from envs.agents.q_learning import QLearningConfig, learn
from envs.agents.td_parts import SIGNS, td_parts
from envs.grid_world import ACTIONS
from tests.envs.agents.test_other_learners import walks


@pytest.mark.parametrize("window", [1, 4, None])
def test_they_add_up_to_the_signal(window: int | None) -> None:
    config = QLearningConfig(0.3, 0.9, window)
    for t in walks(2):
        parts = td_parts(t, len(ACTIONS), config)
        np.testing.assert_allclose(parts @ SIGNS, learn(t, len(ACTIONS), config)[0], atol=1e-12)
        assert parts[1].tolist() == [t.reward[0], 0, 0]


def test_of_one_transition_they_are_what_its_error_is_made_of() -> None:
    config = QLearningConfig(0.3, 0.9, 1)
    (t,) = walks(1)
    parts, values = td_parts(t, len(ACTIONS), config), learn(t, len(ACTIONS), config)[1]
    np.testing.assert_allclose(parts[1:, 2], values[np.arange(len(t) - 1), t.action[:-1]])
    np.testing.assert_array_equal(parts[1:, 0], t.reward[:-1])
