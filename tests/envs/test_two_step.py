"""The Two-Step task against its description: points, changes, chance, text, and the rules of play."""

from __future__ import annotations

import re
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from envs import TASKS
from envs.game import TERMINAL
from envs.two_step import Layout, TwoStep, TwoStepConfig, Variant

PATHS = tuple(product((0, 1), (0, 1)))
"""First and second action of the four ways through an episode."""
PHASE_POINTS = {
    "standard": ({frozenset({1, 8}), frozenset({2, 5})},) * 2,
    "reward_disruption": (
        {frozenset({1, 8}), frozenset({2, 5})},
        {frozenset({10, 3}), frozenset({9, 2})},
    ),
    "transition_disruption": ({frozenset({1, 2}), frozenset({7, 9})},) * 2,
}
"""Points of the two branches before and from episode 15, as published."""
BEST_RETURN = {"standard": (8, 8), "reward_disruption": (8, 10), "transition_disruption": (9, 9)}
CHANGED = {1: 10, 8: 3, 2: 9, 5: 2}

seeds = st.integers(0, 2**32 - 1)
variants = st.sampled_from(sorted(PHASE_POINTS))


def free(variant: str, **lengths: int) -> TwoStepConfig:
    """A task in which every action is the player's own."""
    return TwoStepConfig(Variant(variant), random_episodes=0, **lengths)


def outcomes(variant: str, seed: int) -> list[dict[tuple[int, int], tuple[int, float]]]:
    """Fruit and points of each path, in each of the two phases, by walking all of them."""
    game = TwoStep(free(variant), seed)
    found: list[dict[tuple[int, int], tuple[int, float]]] = [{}, {}]
    while not game.done:
        path = PATHS[game.episode % 4]
        phase = found[game.episode >= 15]
        for action in path:
            game.observe()
            game.act(action)
        first, second = game.steps[-2:]
        outcome = first.next_state, second.reward
        assert phase.setdefault(path, outcome) == outcome  # the same in all episodes of a phase
    assert [len(phase) for phase in found] == [4, 4]
    return found


def played(config: TwoStepConfig, seed: int, choices: int, phases: tuple[Layout, Layout] | None = None) -> TwoStep:
    """A finished game: forced actions where there are any, then the bits of ``choices``."""
    game = TwoStep(config, seed, phases)
    while not game.done:
        forced = game.forced_action
        game.act(choices >> len(game.steps) & 1 if forced is None else forced)
    return game


@given(variant=variants, seed=seeds)
def test_each_branch_pays_what_the_paper_says(variant: str, seed: int) -> None:
    for phase, points, best in zip(outcomes(variant, seed), PHASE_POINTS[variant], BEST_RETURN[variant], strict=True):
        by_fruit = {fruit: frozenset(p for f, p in phase.values() if f == fruit) for fruit in (1, 2)}
        assert set(by_fruit.values()) == points
        assert max(p for _, p in phase.values()) == best
        for first in (0, 1):  # one action, one fruit
            assert phase[first, 0][0] == phase[first, 1][0]
        assert {phase[0, 0][0], phase[1, 0][0]} == {1, 2}


@given(seed=seeds)
def test_a_random_policy_earns_four_and_the_best_eight_in_the_standard_variant(seed: int) -> None:
    for phase in outcomes("standard", seed):
        assert np.mean([points for _, points in phase.values()]) == 4.0
    game = TwoStep(TwoStepConfig(), seed)
    assert game.layout.best_return() == 8


@given(seed=seeds)
def test_reward_disruption_changes_points_and_nothing_else(seed: int) -> None:
    before, after = outcomes("reward_disruption", seed)
    assert after == {path: (fruit, CHANGED[int(points)]) for path, (fruit, points) in before.items()}


@given(seed=seeds)
def test_transition_disruption_swaps_the_first_choice_and_nothing_else(seed: int) -> None:
    before, after = outcomes("transition_disruption", seed)
    assert after == {(1 - first, second): outcome for (first, second), outcome in before.items()}


@given(seed=seeds)
def test_the_standard_variant_never_changes(seed: int) -> None:
    before, after = outcomes("standard", seed)
    assert after == before


@pytest.mark.parametrize("variant", sorted(PHASE_POINTS))
def test_side_fruit_and_leaf_order_are_drawn_evenly_and_independently(variant: str) -> None:
    (x, y), n = PHASE_POINTS[variant][0], 1600
    x, y = sorted((x, y), key=min)
    layouts: Counter[tuple[object, ...]] = Counter()
    for seed in range(n):
        layout = TwoStep(TwoStepConfig(Variant(variant)), seed).phases[0]
        apple, orange = layout.points
        paying = {frozenset(apple): apple, frozenset(orange): orange}
        layouts[layout.fruit_of, frozenset(apple) == x, paying[x], paying[y]] += 1
    assert len(layouts) == 16
    assert chisquare(list(layouts.values())).pvalue > 0.01


def test_exploration_is_even_at_every_decision_and_does_not_follow_the_layout() -> None:
    games = [TwoStep(TwoStepConfig(), seed) for seed in range(800)]
    actions = np.array([[step.action for step in played(g.config, s, 0).steps[:14]] for s, g in enumerate(games)])
    assert np.abs(actions.mean(0) - 0.5).max() < 0.07  # four standard deviations
    assert np.abs(np.corrcoef(actions, rowvar=False) - np.eye(14)).max() < 0.15
    left_is_apple = np.array([game.layout.fruit_of[0] == 1 for game in games])
    assert np.abs([np.corrcoef(left_is_apple, column)[0, 1] for column in actions.T]).max() < 0.15


@given(variant=variants, seed=seeds, choices=st.lists(st.integers(0, 2**60 - 1), min_size=2, max_size=2))
def test_a_seed_means_the_same_instance_and_exploration_whatever_the_player(
    variant: str, seed: int, choices: list[int]
) -> None:
    one, other = (played(TwoStepConfig(Variant(variant)), seed, c) for c in choices)
    assert one.phases == other.phases
    assert one.steps[:14] == other.steps[:14]
    assert one.transcript().text[:300] == other.transcript().text[:300]


def test_seeds_differ() -> None:
    games = [played(TwoStepConfig(), seed, 0) for seed in range(20)]
    assert len({game.transcript().text for game in games}) == 20


@pytest.mark.parametrize("random_episodes", [0, 1, 7, 30])
def test_only_the_leading_episodes_are_forced(random_episodes: int) -> None:
    game = TwoStep(TwoStepConfig(random_episodes=random_episodes), seed=5)
    while not game.done:
        forced = game.forced_action
        assert (forced is not None) == (game.episode < random_episodes)
        assert forced in (None, 0, 1)
        game.act(1 if forced is None else forced)
    assert [step.forced for step in game.steps] == [step.episode < random_episodes for step in game.steps]


@given(variant=variants, seed=seeds, choices=st.integers(0, 2**60 - 1))
def test_steps_are_a_chain_of_two_decisions_an_episode(variant: str, seed: int, choices: int) -> None:
    game = played(TwoStepConfig(Variant(variant)), seed, choices)
    assert len(game.steps) == game.n_decisions == 60
    for episode in range(30):
        first, second = game.steps[2 * episode : 2 * episode + 2]
        assert (first.episode, second.episode) == (episode, episode)
        assert (first.state, first.reward, first.done) == (0, 0.0, False)
        assert second.state == first.next_state in (1, 2)
        assert second.done and second.next_state == TERMINAL
        assert isinstance(second.reward, float)


EXCERPT = (
    "You are an optimal reinforcement learning agent. You are playing a little game. You have two actions, Left and "
    "Right. Your goal is to get as many points as possible within an episode. Here we go.\n"
    "\n"
    "Episode 0: You pick right. You see an orange. You pick left. You get 6 points. Episode is over.\n"
    "\n"
    "Episode 1: You pick left. You see an apple. You pick right. You get 9 points. Episode is over.\n"
    "\n"
)
"""The paper's appendix, its two printed episodes in a row."""


def test_the_text_is_the_papers() -> None:
    layout = Layout(fruit_of=(1, 2), points=((4, 9), (6, 3)))
    game = TwoStep(free("standard", episodes=2), seed=0, phases=(layout, layout))
    pieces = []
    for action in (1, 0, 0, 1):
        pieces.append(game.observe())
        game.act(action)
    assert game.transcript().text == EXCERPT
    assert pieces[1:] == [
        " right. You see an orange. You pick",
        " left. You get 6 points. Episode is over.\n\nEpisode 1: You pick",
        " left. You see an apple. You pick",
    ]
    assert pieces[0] == EXCERPT[: EXCERPT.index("Episode 0")] + "Episode 0: You pick"


@given(variant=variants, seed=seeds, choices=st.integers(0, 2**60 - 1))
def test_the_text_tells_what_happened(variant: str, seed: int, choices: int) -> None:
    game = played(TwoStepConfig(Variant(variant)), seed, choices)
    names, fruits = ("left", "right"), (None, "apple", "orange")
    steps = iter(game.steps)
    told = [
        f"Episode {first.episode}: You pick {names[first.action]}. You see an {fruits[second.state]}. "
        f"You pick {names[second.action]}. You get {int(second.reward)} points. Episode is over.\n\n"
        for first, second in zip(steps, steps, strict=True)
    ]
    assert game.transcript().text == EXCERPT[: EXCERPT.index("Episode 0")] + "".join(told)


@given(variant=variants, seed=seeds, choices=st.integers(0, 2**60 - 1))
def test_observed_pieces_join_to_the_text_and_spans_lie_on_the_decision_words(
    variant: str, seed: int, choices: int
) -> None:
    game = TwoStep(TwoStepConfig(Variant(variant)), seed)
    text = ""
    while not game.done:
        text += game.observe()
        so_far = game.transcript()
        assert text == so_far.text
        assert len(so_far.decisions) == len(game.steps) + 1
        assert so_far.decisions[-1].end == len(text)
        game.act(choices >> len(game.steps) & 1)
    whole = game.transcript()
    assert whole.text.startswith(text)
    assert text == whole.text[: whole.decisions[-1].end]
    assert [whole.text[span.start - 1 : span.end + 1] for span in whole.decisions] == [" pick "] * 60
    assert [m.start() for m in re.finditer("pick", whole.text)] == [span.start for span in whole.decisions]


def test_a_second_look_shows_nothing_new() -> None:
    game = TwoStep(TwoStepConfig(), seed=0)
    assert game.observe().endswith("Episode 0: You pick")
    assert game.observe() == ""
    assert game.transcript().text.count("pick") == 1


@pytest.mark.parametrize("action", [-1, 2])
@pytest.mark.parametrize("decision", [0, 1])
def test_an_action_that_does_not_exist_is_refused_and_changes_nothing(action: int, decision: int) -> None:
    game = TwoStep(free("standard"), seed=0)
    for _ in range(decision):
        game.act(0)
    before, text = list(game.steps), game.transcript().text
    with pytest.raises(ValueError, match=f"no action {action}"):
        game.act(action)
    assert (game.steps, game.transcript().text) == (before, text)


def test_acting_after_the_end_is_refused() -> None:
    game = played(free("standard", episodes=1), seed=0, choices=0)
    with pytest.raises(ValueError, match="over"):
        game.act(0)
    assert len(game.steps) == 2


@pytest.mark.parametrize(("episodes", "random_episodes"), [(0, 0), (5, 6), (5, -1)])
def test_impossible_lengths_are_refused(episodes: int, random_episodes: int) -> None:
    with pytest.raises(ValueError, match="random_episodes"):
        TwoStepConfig(episodes=episodes, random_episodes=random_episodes)


def test_the_published_lengths_are_the_defaults() -> None:
    game = played(TwoStepConfig(), seed=0, choices=0)
    assert len(game.steps) == 60
    assert [step.episode for step in game.steps if step.forced] == [e for e in range(7) for _ in range(2)]


def test_a_variant_may_be_plain_text_and_must_exist() -> None:
    assert TwoStepConfig("reward_disruption").variant is Variant.REWARD_DISRUPTION
    assert (
        TwoStep(TwoStepConfig("reward_disruption"), 3).phases
        == TwoStep(TwoStepConfig(Variant.REWARD_DISRUPTION), 3).phases
    )
    with pytest.raises(ValueError, match="no_such"):
        TwoStepConfig("no_such")


def test_the_registry_makes_the_task_that_the_text_is_about() -> None:
    task = TASKS["two_step"]
    assert set(task.variants) == set(PHASE_POINTS)
    game = task.make(task.config(variant="standard"), 0)
    assert tuple(action.strip() for action in game.actions) == task.actions == ("left", "right")
    assert game.observe().endswith(f" {task.decision_word}")
    assert task.n_states == 3
