"""Grid and graph histories are games that could be played, in the tokenizer's own tokens, with the goals held out."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.agents.q_learning import QLearningConfig, windowed_update
from envs.graph_walk import ADJACENCY, N_NODES, GraphWalk, GraphWalkConfig
from envs.grid_world import ACTIONS, MOVES, GridWorld, GridWorldConfig, Variant
from jobs.reference.histories import GraphWalkHistories, GridWorldHistories, graph_walk, grid_world
from jobs.reference.histories.batch import CHOICE, IGNORED, Histories
from jobs.reference.vocabulary import OBJECTS, build_tokenizer, tokens

TOKENIZER, TOKENS = build_tokenizer(), tokens()
TRUE = GridWorldHistories(untrue=0.0)
seeds = st.integers(0, 2**32 - 1)


def text_of(made: Histories, i: int) -> str:
    return "".join(TOKENS[token] for token in made.ids[i, 1:] if token)


def moves_of(text: str) -> list[tuple[int, int, int, str]]:
    """x, y, action and what followed each move."""
    found = re.findall(r"You are at (\d), (\d)\. You go (\w+)\.( You get [+-]1 points\.)?", text)
    return [(int(x), int(y), ACTIONS.index(f" {move}"), told) for x, y, move, told in found]


@settings(max_examples=20)
@given(seed=seeds, steps=st.integers(1, 60))
def test_a_grid_history_is_a_game_that_could_be_played(seed: int, steps: int) -> None:
    made = grid_world.generate(3, steps, np.random.default_rng(seed), TRUE)
    for i in range(3):
        text = text_of(made, i)
        assert TOKENIZER(text)["input_ids"] == made.ids[i][made.ids[i] > 0].tolist()
        episodes = text.split("\n\n")[1:]
        assert len(moves_of(text)) == steps
        for number, episode in enumerate(filter(None, episodes)):
            assert episode.startswith(f"Episode {number}: You are at")
            happened = moves_of(episode)
            for (x, y, move, told), (after_x, after_y, _, _) in pairwise(happened):
                dx, dy = MOVES[move]
                assert (after_x, after_y) == (min(max(x + dx, 0), 4), min(max(y + dy, 0), 4))
                assert told == " You get -1 points."
            if (total := re.search(r"finished with (-?\d+) points", episode)) is not None:
                assert int(total[1]) == sum(int(told.split()[2]) for *_, told in happened)


@pytest.mark.parametrize("variant", [Variant.TRUE, Variant.SWAPPED, Variant.REMOVED])
def test_a_variant_is_told_in_the_very_tokens_of_the_task(variant: Variant) -> None:
    rng = np.random.default_rng(0)
    goals = np.arange(1, 9)
    moves = grid_world.walk(goals, 60, rng, replace(TRUE, cap=(20, 20), restarts=0.0))
    for i, goal in enumerate(goals.tolist()):
        (start_y, start_x), (goal_y, goal_x) = divmod(int(moves.state[i, 0]), 5), divmod(goal, 5)
        config = GridWorldConfig(variant, 60, 5, start_x, start_y, goal_x, goal_y, cap=20, closed_loop=True)
        game = GridWorld(config, 0)
        for action in moves.action[i].tolist():
            game.act(action)
        assert [step.done for step in game.steps] == moves.found[i].tolist()
        ids, weights = grid_world._written(moves, i, variant, rng)
        read = TOKENIZER(game.transcript().text)["input_ids"]
        last = [place for place, token in enumerate(ids) if TOKENS[token] == " go"][-1] + 2
        assert ids[:last] == read[:last] and len(ids) == len(weights)


def test_random_rewards_are_told_of_every_move() -> None:
    made = grid_world.generate(40, 40, np.random.default_rng(0), replace(TRUE, untrue=1.0))
    told = [[told for *_, told in moves_of(text_of(made, i))] for i in range(40)]
    plus = [sum("+1" in one for one in row) / len(row) for row in told]
    assert any(0.3 < share < 0.7 for share in plus)  # random
    assert any(share > 0.85 for share in plus)  # swapped
    assert any(not any(row) for row in told)  # removed


def test_held_out_goals_never_occur_and_all_others_do() -> None:
    rng = np.random.default_rng(0)
    made = grid_world.generate(400, 60, rng, replace(TRUE, restarts=1.0))
    goals = set()
    for i in range(400):
        for episode in text_of(made, i).split("\n\n")[1:]:
            happened = moves_of(episode)
            if happened and happened[-1][3] == " You get +1 points.":
                x, y, move, _ = happened[-1]
                goals.add((y + MOVES[move][1]) * 5 + x + MOVES[move][0])
    assert goals == set(range(25)) - set(grid_world.HELD_OUT)
    assert GridWorldConfig().goal in grid_world.HELD_OUT


def test_agents_learn_as_the_regressor_does_from_its_whole_history() -> None:
    """Greedy agents that replay everything: every greedy move has the highest value of the plain windowed learner."""
    config = replace(TRUE, epsilon=(0.0, 0.0), alpha=(0.3, 0.3), gamma=(0.9, 0.9), restarts=0.0)
    moves = grid_world.walk(np.full(12, 3), 60, np.random.default_rng(1), replace(config, beta=(1e6, 1e6)))
    learner = QLearningConfig(0.3, 0.9, window=None)
    for i in range(12):
        table, past = np.zeros((25, 4)), []
        for state, action, found in zip(moves.state[i], moves.action[i], moves.found[i], strict=True):
            assert table[state, action] == pytest.approx(table[state].max(), abs=1e-4)
            past.append((state, action, 1.0 if found else -1.0, grid_world.TRANSITIONS[state, action], found))
            s, a, r, after, ends = (np.array(column) for column in zip(*past, strict=True))
            windowed_update(table, s, a, r, after, ends, learner)


def test_random_moves_are_no_targets_and_the_others_weigh_most() -> None:
    made = grid_world.generate(40, 80, np.random.default_rng(0), replace(TRUE, epsilon=(0.5, 1.0)))
    is_action = np.isin(made.ids, [TOKENS.index(action) for action in ACTIONS])
    assert set(np.unique(made.weights[is_action])) == {np.float32(IGNORED), np.float32(CHOICE)}
    assert (made.weights[~is_action] < CHOICE).all()
    assert (made.weights[made.ids == 0] == IGNORED).all()


@settings(max_examples=20)
@given(seed=seeds, steps=st.integers(1, 80))
def test_a_graph_history_is_a_walk_on_the_community_graph(seed: int, steps: int) -> None:
    made = graph_walk.generate(2, steps, np.random.default_rng(seed), GraphWalkHistories(community=1.0))
    for i in range(2):
        text = text_of(made, i)
        assert TOKENIZER(text)["input_ids"] == made.ids[i].tolist()
        words = text.split("\n\n")[1].split(", ")
        assert len(words) == steps + 1 and set(words) <= set(OBJECTS) and len(set(words)) <= N_NODES
        followers = {word: {b for a, b in pairwise(words) if a == word} for word in set(words)}
        assert all(len(after) <= 4 and word not in after for word, after in followers.items())


def test_walks_of_histories_visit_links_as_often_as_the_tasks_do() -> None:
    rng = np.random.default_rng(0)
    walk = graph_walk._walk(ADJACENCY, 20_000, rng)
    counts = np.zeros((N_NODES, N_NODES))
    np.add.at(counts, (walk[:-1], walk[1:]), 1)
    assert (counts[~ADJACENCY] == 0).all()
    assert counts[ADJACENCY] / counts.sum() == pytest.approx(1 / 60, abs=0.004)
    game = GraphWalk(GraphWalkConfig(words=OBJECTS), 0)
    assert set(game.words) <= set(OBJECTS)


@given(seed=seeds)
def test_in_other_graphs_every_node_can_be_reached_and_has_few_followers(seed: int) -> None:
    linked = graph_walk.other_graph(np.random.default_rng(seed), GraphWalkHistories())
    assert 4 <= len(linked) <= 15 and not linked.diagonal().any()
    assert 1 <= linked.sum(1).min() <= linked.sum(1).max() <= 4
    assert (np.linalg.matrix_power(linked.astype(float) + np.eye(len(linked)), len(linked)) > 0).all()


def test_where_one_node_follows_each_the_walk_repeats_itself() -> None:
    linked = graph_walk.other_graph(np.random.default_rng(0), GraphWalkHistories(nodes=(6, 6), followers=(1, 1)))
    walk = graph_walk._walk(linked, 23, np.random.default_rng(0)).reshape(4, 6)
    assert (walk == walk[0]).all() and len(set(walk[0].tolist())) == 6


def test_the_generator_alone_decides() -> None:
    for make in (lambda rng: grid_world.generate(4, 30, rng), lambda rng: graph_walk.generate(4, 30, rng)):
        one, again, other = (make(np.random.default_rng(seed)) for seed in (0, 0, 1))
        assert (one.ids == again.ids).all() and (one.weights == again.weights).all()
        assert one.ids.shape != other.ids.shape or (one.ids != other.ids).any()
