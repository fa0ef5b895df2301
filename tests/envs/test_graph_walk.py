"""The community graph, the walk on it, and the list of words that tells it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.graph_walk import (
    ADJACENCY,
    BOTTLENECKS,
    INSTRUCTION,
    N_NODES,
    WORDS,
    GraphWalk,
    GraphWalkConfig,
    community,
    random_walk,
)

seeds = st.integers(0, 2**32 - 1)


def walked(config: GraphWalkConfig, seed: int) -> GraphWalk:
    game = GraphWalk(config, seed)
    while not game.done:
        game.observe()
        game.act(game.forced_action or 0)
    return game


def test_the_graph_is_the_papers() -> None:
    """Three communities of five, every node of degree 4, bottlenecks of a community not linked: 30 links."""
    assert (ADJACENCY.sum(1) == 4).all() and ADJACENCY.sum() == 60
    assert (ADJACENCY == ADJACENCY.T).all() and not ADJACENCY.diagonal().any()
    across = [(a, b) for a in range(N_NODES) for b in range(a) if ADJACENCY[a, b] and community(a) != community(b)]
    assert len(across) == 3 and sorted(node for link in across for node in link) == list(BOTTLENECKS)
    for first in (0, 5, 10):
        inside = [b for b in BOTTLENECKS if community(b) == community(first)]
        assert len(inside) == 2 and not ADJACENCY[inside[0], inside[1]]


@given(seed=seeds)
def test_the_text_names_the_nodes_that_are_walked(seed: int) -> None:
    game = walked(GraphWalkConfig(steps=60), seed)
    text, spans = game.transcript().text, game.transcript().decisions
    assert text.startswith(INSTRUCTION)
    nodes = [game.words.index(word) for word in text.removeprefix(INSTRUCTION).split(", ")]
    assert len(nodes) == 61 and len(set(game.words)) == N_NODES
    assert all(ADJACENCY[a, b] for a, b in pairwise(nodes))
    assert [(step.state, step.action, step.next_state) for step in game.steps] == [
        (a, b, b) for a, b in pairwise(nodes)
    ]
    assert [text[span.start : span.end] for span in spans] == [","] * 60
    assert all(
        text[span.end :].startswith(game.actions[step.action]) for span, step in zip(spans, game.steps, strict=True)
    )


def test_steps_go_to_all_neighbours_alike() -> None:
    walk = np.array(random_walk(20_000, np.random.default_rng(0)))
    counts = np.zeros((N_NODES, N_NODES))
    np.add.at(counts, (walk[:-1], walk[1:]), 1)
    rows = counts / counts.sum(1, keepdims=True)
    assert rows[ADJACENCY] == pytest.approx(0.25, abs=0.06) and (rows[~ADJACENCY] == 0).all()


def test_names_are_drawn_anew_and_a_seed_draws_them_again() -> None:
    config = GraphWalkConfig(steps=5)
    one, again, other = (GraphWalk(config, seed) for seed in (0, 0, 1))
    assert one.words == again.words and one.observe() == again.observe()
    assert one.words != other.words
    assert set(GraphWalk(GraphWalkConfig(words=WORDS[:15]), 0).words) == set(WORDS[:15])


def test_the_word_list_is_plain_words() -> None:
    assert len(set(WORDS)) == len(WORDS) > 150
    assert all(word.isalpha() and word.islower() for word in WORDS)


def test_bad_settings_and_moves_are_named() -> None:
    with pytest.raises(ValueError, match="15 nodes need as many different words, not 14"):
        GraphWalkConfig(words=WORDS[:14])
    with pytest.raises(ValueError, match="steps must be at least 1"):
        GraphWalkConfig(steps=0)
    game = GraphWalk(GraphWalkConfig(steps=1), 0)
    there = game.forced_action or 0
    with pytest.raises(ValueError, match=f"the walk goes to node {there} here"):
        game.act((there + 1) % N_NODES)
    game.act(there)
    with pytest.raises(ValueError, match="the walk is over"):
        game.act(there)
