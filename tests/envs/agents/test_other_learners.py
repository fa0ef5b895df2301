"""The learner that made the moves and the one fitted to predictions, against plain Q-learning."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from envs.agents import QLearning, QLearningConfig, Transitions
from envs.agents.behaviour import Estimate, fit_beta, nll
from envs.agents.other_learners import (
    ALPHAS,
    GAMMAS,
    OtherLearner,
    fit_learner,
    fitted,
    generating,
    last_errors,
    values_of,
)
from envs.agents.q_learning import learn
from envs.grid_world import ACTIONS, GridWorld, GridWorldConfig, Variant


def walks(n: int, variant: Variant = Variant.TRUE, steps: int = 40, **settings: float) -> list[Transitions]:
    found = []
    for seed in range(n):
        game = GridWorld(GridWorldConfig(variant, steps=steps, cap=9, epsilon=0.8, **settings), seed)  # type: ignore[arg-type]
        while not game.done:
            game.act(game.forced_action or 0)
        found.append(Transitions.from_steps(game.steps))
    return found


@pytest.mark.parametrize("window", [1, 4, None])
def test_tables_of_several_rollouts_do_not_touch(window: int | None) -> None:
    config, rollouts = QLearningConfig(0.3, 0.9, window), walks(3)
    expected = [learn(t, len(ACTIONS), config)[1] for t in rollouts]
    np.testing.assert_array_equal(values_of(rollouts, len(ACTIONS), config), expected)


def test_the_last_error_is_that_of_a_window_of_one_for_the_same_table() -> None:
    (t,) = walks(1)
    once = QLearningConfig(0.3, 0.9, window=1)
    np.testing.assert_array_equal(last_errors(t, len(ACTIONS), once), learn(t, len(ACTIONS), once)[0])
    whole = QLearningConfig(0.3, 0.9, window=None)
    _, values = learn(t, len(ACTIONS), whole)
    errors, compared = last_errors(t, len(ACTIONS), whole), 0
    for n in range(len(t) - 1):  # where the next decision is taken in the state reached, its values are those before
        if not t.done[n] and t.next_state[n] == t.state[n + 1] and t.next_state[n] != t.state[n]:
            untouched = values[n + 1].max() == learn_before(t, n, whole)[t.next_state[n]].max()
            if untouched:
                by_hand = t.reward[n] + 0.9 * values[n + 1].max() - values[n, t.action[n]]
                assert errors[n + 1] == pytest.approx(by_hand)
                compared += 1
    assert errors[0] == 0 and compared > 5


def learn_before(t: Transitions, n: int, config: QLearningConfig) -> np.ndarray:
    """The whole table before transition n was learned from."""
    table = np.zeros((t.n_states, len(ACTIONS)))
    for last in range(n):
        w = slice(0, last + 1)
        ahead = np.where(t.done[w], 0, table.max(1)[np.where(t.done[w], 0, t.next_state[w])])
        error = t.reward[w] + config.gamma * ahead - table[t.state[w], t.action[w]]
        table[t.state[w], t.action[w]] += config.alpha * error
    return table


@pytest.mark.parametrize("variant", list(Variant))
def test_the_generating_learner_saw_the_true_rewards_whatever_is_told(variant: Variant) -> None:
    settings = {"alpha": 0.2, "gamma": 0.8}
    told, true = walks(1, variant, **settings)[0], walks(1, **settings)[0]
    source = generating(ACTIONS, settings)
    found = source.replay(told)
    plain = QLearning(ACTIONS, QLearningConfig(0.2, 0.8, window=None)).replay(true)
    assert set(found) == set(source.describe())
    for name, same in (("error", "td_error"), ("q_max", "q_max"), ("q_chosen", "q_chosen")):
        np.testing.assert_array_equal(found[f"generator_{name}"], plain[same])


def test_the_generators_values_foretell_its_own_greedy_moves() -> None:
    settings = {"alpha": 0.2, "gamma": 0.8, "epsilon_episodes": 1}  # greedy from the second episode on
    (t,) = walks(1, **settings)
    values = values_of([t], len(ACTIONS), QLearningConfig(0.2, 0.8, None))[0]
    later = t.episode >= 1
    assert (values[later, t.action[later]] == values[later].max(1)).all()


def test_the_parameters_behind_predictions_are_found() -> None:
    rollouts, config = walks(6, steps=60), QLearningConfig(ALPHAS[4], GAMMAS[2], None)
    predictions = softmax(1.7 * values_of(rollouts, len(ACTIONS), config), axis=-1)
    fit = fit_learner(rollouts, predictions, None)
    assert fit.config == config and fit.beta.value == pytest.approx(1.7, rel=1e-6)
    assert fit.beta.estimate is Estimate.INTERIOR
    entropy = -(predictions * np.log(predictions)).sum(-1).mean()
    assert fit.nll == pytest.approx(entropy)
    source = fitted(ACTIONS, fit)
    assert "alpha 0.2, gamma 0.8, beta 1.7" in source.name
    found = source.replay(rollouts[0])["fitted_error"]
    np.testing.assert_array_equal(found, learn(rollouts[0], len(ACTIONS), config)[0])


def test_choices_that_are_certain_count_as_choices() -> None:
    rng = np.random.default_rng(0)
    values, choices = rng.standard_normal((40, 3)), rng.integers(3, size=40)
    certain = np.eye(3)[choices]
    assert fit_beta(values, certain) == fit_beta(values, choices)
    assert nll(values, certain, 0.7) == pytest.approx(nll(values, choices, 0.7))


def test_signals_begin_with_their_prefix() -> None:
    source = OtherLearner("x", "other", ACTIONS)
    assert all(name.startswith("other_") for name in source.describe())
