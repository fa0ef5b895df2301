"""Effects of interventions against plain loops over resampled rollouts, and zero where nothing changes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.agents import QLearning, QLearningConfig, Transitions
from envs.game import Step
from envs.two_step import TwoStep, TwoStepConfig, Variant
from jobs.effects import (
    Effect,
    Moments,
    correlation_effects,
    mean_return,
    nll_under,
    p_greedy,
    paired,
    predictions,
    total_variation,
)

seeds = st.integers(0, 10**6)


def resampled(rng: np.random.Generator, n: int, count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Resamples of n rollouts: as weights [count, n], and as lists of indices."""
    drawn = rng.integers(n, size=(count, n))
    weights = np.array([np.bincount(row, minlength=n) for row in drawn], dtype=np.float64)
    return weights, list(drawn)


@given(seed=seeds, n=st.integers(3, 12), total=st.booleans())
def test_a_paired_effect_is_that_of_every_resample_in_a_loop(seed: int, n: int, total: bool) -> None:
    rng = np.random.default_rng(seed)
    lesioned, intact = rng.normal(size=(2, n))
    weights, indices = resampled(rng, n, 60)
    found = paired("metric", lesioned, intact, weights, total=total)
    add = np.sum if total else np.mean
    differences = [add([lesioned[i] - intact[i] for i in rows]) for rows in indices]
    low, high = np.quantile(differences, [0.025, 0.975])
    assert (found.value, found.baseline) == pytest.approx((add(lesioned), add(intact)))
    assert found.difference == pytest.approx(add(lesioned) - add(intact))
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high))
    assert found.metric == "metric" and found.block is None


@given(seed=seeds)
def test_rollouts_without_a_value_on_either_side_are_left_out_on_both(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lesioned, intact = rng.normal(size=(2, 10))
    lesioned[2], intact[7] = np.nan, np.nan
    weights, indices = resampled(rng, 10, 40)
    found = paired("metric", lesioned, intact, weights)
    kept = [i for i in range(10) if i not in (2, 7)]
    assert found.value == pytest.approx(np.mean([lesioned[i] for i in kept]))
    assert found.baseline == pytest.approx(np.mean([intact[i] for i in kept]))
    means = [np.mean([lesioned[i] - intact[i] for i in rows if i in kept]) for rows in indices]
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=10), total=st.booleans())
def test_no_change_is_no_effect_to_the_bit(values: list[float], total: bool) -> None:
    x = np.array(values)
    found = paired("metric", x, x.copy(), np.ones((5, len(x))), total=total)
    assert (found.difference, found.ci_low, found.ci_high) == (0.0, 0.0, 0.0)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        intact = rng.normal(size=60)
        found = paired("metric", intact + rng.normal(0.5, 1.0, 60), intact, resampled(rng, 60, 300)[0])
        covered += found.ci_low <= 0.5 <= found.ci_high
    assert covered / 400 == pytest.approx(0.94, abs=0.03)


def test_what_no_rollout_has_a_value_of_has_no_effect() -> None:
    nowhere = np.full(4, np.nan)
    found = paired("metric", nowhere, np.arange(4.0), np.ones((5, 4)))
    assert np.isnan([found.value, found.baseline, found.difference, found.ci_low, found.ci_high]).all()


# --- predictions


@given(seed=seeds, n=st.integers(1, 4), steps=st.integers(2, 40), linked=st.booleans())
def test_predictions_are_means_over_the_decisions_in_a_loop(seed: int, n: int, steps: int, linked: bool) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(5), size=(n, steps))
    rollouts, links = [], rng.random((3, 5)) < 0.5
    for _ in range(n):
        state, action = rng.integers(3, size=steps), rng.integers(5, size=steps)
        rows = [Step(0, int(s), int(a), 0.0, 0, False, True) for s, a in zip(state, action, strict=True)]
        rollouts.append(Transitions.from_steps(rows))
    found = predictions(rollouts, p, links if linked else None)
    for i, t in enumerate(rollouts):
        chosen = [p[i, k, t.action[k]] for k in range(steps)]
        late = max(1, round(steps * 3 / 8))
        assert found["p_chosen"][i] == pytest.approx(np.mean(chosen))
        assert found["log_p_chosen"][i] == pytest.approx(np.mean(np.log(chosen)))
        assert found["p_chosen_late"][i] == pytest.approx(np.mean(chosen[steps - late :]))
        right = [max(range(5), key=lambda a: p[i, k, a]) == t.action[k] for k in range(steps)]
        assert found["accuracy"][i] == pytest.approx(np.mean(right))
        if linked:
            mass = [sum(p[i, k, a] for a in range(5) if links[t.state[k], a]) for k in range(steps)]
            assert found["neighbour_mass"][i] == pytest.approx(np.mean(mass))
    assert ("neighbour_mass" in found) == linked


def test_late_are_the_decisions_from_200_on_of_the_papers_320() -> None:
    t = Transitions.from_steps([Step(0, 0, 0, 0.0, 0, False, True)] * 320)
    p = np.zeros((1, 320, 2))
    p[0, 200:, 0], p[0, :200, 1] = 1.0, 1.0
    found = predictions([t], p)
    assert found["p_chosen_late"] == 1.0 and found["p_chosen"] == pytest.approx(120 / 320)
    assert np.isfinite(found["log_p_chosen"]).all()  # a probability may round to nothing


@given(seed=seeds)
def test_total_variation_is_the_most_that_the_probability_of_any_set_of_actions_moves(seed: int) -> None:
    p, q = np.random.default_rng(seed).dirichlet(np.ones(4), size=(2, 3, 5))
    sets = [np.array([bool(bits >> a & 1) for a in range(4)]) for bits in range(16)]
    wanted = np.max([np.abs((p - q)[..., chosen].sum(-1)) for chosen in sets], axis=0)
    np.testing.assert_allclose(total_variation(p, q), wanted)


# --- correlations


def highest(z: np.ndarray, y: np.ndarray, rows: np.ndarray) -> list[float]:
    """Highest r over latents with each signal, for the rollouts ``rows`` one after the other."""
    z, y = np.concatenate([z[i] for i in rows]), np.concatenate([y[i] for i in rows])
    alive = [latent for latent in z.T if latent.max() > latent.min()]
    return [max((np.corrcoef(latent, signal)[0, 1] for latent in alive), default=np.nan) for signal in y.T]


def activity(rng: np.random.Generator, n: int = 6, steps: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Latents of quite different sizes, two dead, one alive or loud in one rollout only; signals far from 0."""
    z = np.maximum(rng.normal(size=(n, steps, 6)), 0) * 10.0 ** rng.uniform(-3, 3, 6)
    z[:, :, 3], z[:, :, 5], z[1:, :, 0] = 0.0, 0.0, 0.0
    z[0, :, 1] *= 1e3
    return z, rng.normal(size=(n, steps, 3)) * [1.0, 50.0, 1e-3] + [0.0, 400.0, 5e4]


@settings(max_examples=40)
@given(seed=seeds, sizes=st.sampled_from(([6], [1, 2, 3], [1] * 6)))
def test_the_highest_correlation_of_a_resample_is_numpys(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    z, y = activity(rng)
    weights, indices = resampled(rng, 6, 20)
    found = joined(z, y, sizes).highest_r(weights)
    np.testing.assert_allclose(found, [highest(z, y, rows) for rows in indices], atol=1e-6)


def joined(z: np.ndarray, y: np.ndarray, sizes: list[int]) -> Moments:
    """Moments of some rollouts after the other, put together."""
    ends = np.cumsum(sizes)
    return Moments.joined([Moments.of(z[end - n : end], y[end - n : end]) for n, end in zip(sizes, ends, strict=True)])


@given(seed=seeds, sizes=st.sampled_from(([4, 2], [1, 2, 3], [1] * 6)))
def test_joined_moments_are_those_of_all_rollouts_together(seed: int, sizes: list[int]) -> None:
    z, y = activity(np.random.default_rng(seed))
    one, other = Moments.of(z, y), joined(z, y, sizes)
    for name in ("n", "z", "y", "zy"):
        whole = getattr(one, name)
        np.testing.assert_allclose(getattr(other, name), whole, rtol=1e-9, atol=1e-9 * abs(whole).max())
    for mean, same in zip(one.means, other.means, strict=True):
        np.testing.assert_allclose(mean, same, rtol=1e-12, atol=1e-12 * abs(mean).max())


@pytest.mark.parametrize("dead", [[1, 3], [0, 1, 2, 3]])
def test_latents_that_never_change_take_no_room_and_change_nothing(dead: list[int]) -> None:
    rng = np.random.default_rng(4)
    z, y = rng.random((6, 9, 4)), rng.random((6, 9, 2))
    z[..., dead] = 0.0
    weights, _ = resampled(rng, 6, 20)
    found = joined(z, y, [4, 2])
    assert found.live().zy.shape == (6, 4 - len(dead), 2)
    np.testing.assert_allclose(found.live().highest_r(weights), found.highest_r(weights), rtol=1e-12)


def test_without_a_live_latent_there_is_no_correlation() -> None:
    rng = np.random.default_rng(0)
    y = activity(rng)[1]
    for sizes in ([6], [1] * 6, [5, 1]):
        assert np.isnan(joined(np.full((6, 9, 4), 0.1), y, sizes).highest_r(np.ones((2, 6)))).all()


@settings(max_examples=20)
@given(seed=seeds)
def test_an_effect_on_correlations_is_that_of_every_resample(seed: int) -> None:
    rng = np.random.default_rng(seed)
    (z, y), (changed, other) = activity(rng), activity(rng)
    weights, indices = resampled(rng, 6, 30)
    found = correlation_effects(["a", "b", "c"], Moments.of(changed, other), Moments.of(z, y), weights, block=4)
    everyone = np.arange(6)
    differences = np.array([highest(changed, other, rows) for rows in indices]) - [highest(z, y, r) for r in indices]
    for column, effect in enumerate(found):
        assert (effect.metric, effect.block) == (f"max_r_{'abc'[column]}", 4)
        assert effect.value == pytest.approx(highest(changed, other, everyone)[column], abs=1e-6)
        assert effect.baseline == pytest.approx(highest(z, y, everyone)[column], abs=1e-6)
        low, high = np.quantile(differences[:, column], [0.025, 0.975])
        assert (effect.ci_low, effect.ci_high) == pytest.approx((low, high), abs=1e-6)


def test_unchanged_activity_is_no_effect_to_the_bit() -> None:
    rng = np.random.default_rng(1)
    z, y = activity(rng)
    for effect in correlation_effects(list("abc"), Moments.of(z, y), Moments.of(z, y), resampled(rng, 6, 50)[0], 1):
        assert (effect.difference, effect.ci_low, effect.ci_high) == (0.0, 0.0, 0.0)


# --- behaviour


def played(seed: int, n: int = 4) -> tuple[list[TwoStep], list[Transitions], list[np.ndarray]]:
    """Games of ten episodes of which three are forced, with random choices."""
    rng = np.random.default_rng(seed)
    games = [TwoStep(TwoStepConfig(Variant.REWARD_DISRUPTION, 10, 3, 5), seed + i) for i in range(n)]
    for game in games:
        while not game.done:
            forced = game.forced_action
            game.act(int(rng.integers(2)) if forced is None else forced)
    histories = [Transitions.from_steps(game.steps) for game in games]
    return games, histories, [np.array([not step.forced for step in game.steps]) for game in games]


def q_values(game: TwoStep, alpha: float, gamma: float, window: int) -> list[list[float]]:
    """Q-values of both actions at each decision, by the rule of the paper, step by step."""
    table = {state: [0.0, 0.0] for state in (0, 1, 2)}
    seen, found = [], []
    for step in game.steps:
        found.append(list(table[step.state]))
        seen.append(step)
        updates: dict[tuple[int, int], float] = {}
        for s in seen[-window:]:
            target = s.reward + (0.0 if s.done else gamma * max(table[s.next_state]))
            updates[s.state, s.action] = table[s.state][s.action] + alpha * (target - table[s.state][s.action])
        for (state, action), value in updates.items():
            table[state][action] = value
    return found


LEARNER = QLearning(config=QLearningConfig(alpha=0.3, gamma=0.9, window=3))


@settings(max_examples=30)
@given(seed=seeds)
def test_mean_return_counts_own_episodes_and_the_last_ones_if_asked(seed: int) -> None:
    games, histories, own = played(seed)
    returns = [[step.reward for step in game.steps if step.done] for game in games]
    assert mean_return(histories, own).tolist() == pytest.approx([np.mean(r[3:]) for r in returns])
    assert mean_return(histories, own, last=2).tolist() == pytest.approx([np.mean(r[-2:]) for r in returns])
    assert mean_return(histories, own, last=99).tolist() == mean_return(histories, own).tolist()


@settings(max_examples=30)
@given(seed=seeds)
def test_p_greedy_is_the_probability_of_the_better_action_where_there_is_one(seed: int) -> None:
    games, histories, own = played(seed)
    p = np.random.default_rng(seed).dirichlet([1, 1], size=(4, 20))
    expected = []
    for r, game in enumerate(games):
        values = []
        for t, (step, (left, right)) in enumerate(zip(game.steps, q_values(game, 0.3, 0.9, 3), strict=True)):
            if not step.forced and left != right:
                values.append(p[r, t, int(right > left)])
        expected.append(np.mean(values))
    assert p_greedy(histories, own, p, LEARNER).tolist() == pytest.approx(expected)


def test_p_greedy_is_undefined_where_values_never_differ() -> None:
    _, histories, own = played(0, n=1)
    nothing = np.zeros_like(own[0])
    assert np.isnan(p_greedy(histories, [nothing], np.full((1, 20, 2), 0.5), LEARNER)).all()


@settings(max_examples=30)
@given(seed=seeds, beta=st.floats(0, 5))
def test_likelihood_is_that_of_a_softmax_over_the_values(seed: int, beta: float) -> None:
    games, histories, own = played(seed)
    expected = []
    for game in games:
        total = 0.0
        for step, q in zip(game.steps, q_values(game, 0.3, 0.9, 3), strict=True):
            if not step.forced:
                total -= math.log(math.exp(beta * q[step.action]) / sum(math.exp(beta * value) for value in q))
        expected.append(total)
    assert nll_under(histories, own, LEARNER, beta).tolist() == pytest.approx(expected)
    assert nll_under(histories, own, LEARNER, 0.0).tolist() == pytest.approx([14 * math.log(2)] * 4)


def test_an_effect_knows_its_difference() -> None:
    known: dict[str, Any] = {"metric": "return", "value": 4.5, "baseline": 5.0, "ci_low": -1.0, "ci_high": 0.1}
    assert Effect(**known).difference == -0.5
