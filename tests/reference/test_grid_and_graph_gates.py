"""The grid and graph gates measure what they say: on hand-made models whose answers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from envs.graph_walk import ADJACENCY, GraphWalk, GraphWalkConfig
from envs.grid_world import GridWorld
from jobs.inference.base import Forward, TokenBatch
from jobs.reference.gates import graph_walk, grid_world
from jobs.reference.histories import GridWorldHistories
from jobs.reference.histories.grid_world import HELD_OUT, walk
from jobs.reference.vocabulary import EPISODES, OBJECTS, build_tokenizer


class Counting:
    """Predicts what followed the latest word so far, each as often as it did, with ``mass`` on these together."""

    n_blocks, d_model, dtype, device, readers = 1, 1, torch.float64, torch.device("cpu"), 1

    def __init__(self, mass: float) -> None:
        self.tokenizer, self.mass = build_tokenizer(), mass

    def forward(self, tokens: TokenBatch, *, positions: torch.Tensor, **_: Any) -> Forward:
        p = torch.full((*positions.shape, len(self.tokenizer)), (1 - self.mass) / len(self.tokenizer))
        for row, ids in enumerate(tokens.ids.tolist()):
            seen: dict[str, list[int]] = {}
            words = [self.tokenizer.convert_ids_to_tokens(ids[i]).strip() for i in range(2, len(ids), 2)]
            for column, place in enumerate(positions[row].tolist()):
                here = words[(place - 2) // 2]
                for token in seen.get(here, []):
                    p[row, column, token] += self.mass / len(seen[here])
                if place + 1 < len(ids):
                    seen.setdefault(here, []).append(ids[place + 1])
        return Forward((p / p.sum(-1, keepdim=True)).log(), {})


def test_the_graph_gates_are_surprise_and_mass_over_the_whole_vocabulary() -> None:
    walks = [GraphWalk(GraphWalkConfig(steps=60, words=OBJECTS), seed) for seed in range(3)]
    nll, mass = graph_walk.predictions(Counting(mass=0.9), walks)
    assert nll.shape == mass.shape == (3, 60)
    n_words = len(build_tokenizer())
    for walk_, surprise, on_neighbours in zip(walks, nll, mass, strict=True):
        counts = np.zeros((15, 15))
        for t, step in enumerate(walk_.steps):
            row = counts[step.state]
            told = 0.9 * row / row.sum() if row.any() else np.zeros(15)
            p = (told + 0.1 / n_words) / (0.1 + told.sum())
            assert surprise[t] == pytest.approx(-np.log(p[step.action]), rel=1e-5)
            assert on_neighbours[t] == pytest.approx(p[ADJACENCY[step.state]].sum(), rel=1e-5)
            counts[step.state, step.action] += 1


def test_the_graphs_floor_is_ln_4() -> None:
    assert pytest.approx(np.log(4)) == graph_walk.FLOOR


def test_quarters_share_and_gain() -> None:
    found = np.zeros((2, 8), dtype=bool)
    found[0, 1] = found[0, 6] = found[0, 7] = found[1, 7] = True
    rates = grid_world.quarters(found)
    assert rates == pytest.approx([0.25, 0, 0, 0.75])
    assert grid_world.gain(rates) == pytest.approx(3)
    assert grid_world.gain(np.zeros(4)) == 0
    assert grid_world.share(rates, np.array([0.0, 0.0, 0.0, 1.0])) == pytest.approx(0.75)


def test_instances_have_held_out_goals_and_nobody_imposes_moves() -> None:
    games = grid_world.instances(3, 8)
    assert [game.config.goal for game in games] == [*HELD_OUT, *HELD_OUT]
    assert all(game.forced_action is None and game.n_decisions == 320 for game in games)
    assert len({game.config.start for game in games}) > 2
    for config in (game.config for game in games):
        distance = abs(config.start_x - config.goal_x) + abs(config.start_y - config.goal_y)
        assert EPISODES * distance > config.steps and config.start != config.goal
    again = grid_world.instances(3, 8)
    assert [game.config for game in games] == [game.config for game in again]


def test_the_agents_of_the_histories_would_pass_and_random_play_would_not() -> None:
    agents = grid_world.q_learners(seed=0, n=60)
    assert grid_world.gain(agents) > grid_world.MIN_GAIN
    lost = GridWorldHistories(beta=(1e-9, 1e-9), epsilon=(1, 1), epsilon_episodes=(10**6, 10**6 + 1))
    random = walk(np.array(HELD_OUT * 15), 320, np.random.default_rng(0), lost)
    rates = grid_world.quarters(random.found)
    assert grid_world.gain(rates) < 1.5 and grid_world.share(rates, agents) < 0.3


def test_self_play_is_the_games_own_play(monkeypatch: pytest.MonkeyPatch) -> None:
    def shortest(engine: object, games: list[GridWorld], **_: Any) -> None:
        for game in games:
            for _ in range(game.n_decisions):
                config = game.config
                state = config.start if not game.steps or game.steps[-1].done else game.steps[-1].next_state
                (y, x), (goal_y, goal_x) = divmod(state, 5), divmod(config.goal, 5)
                game.act(0 if x > goal_x else 1 if x < goal_x else 2 if y < goal_y else 3)

    monkeypatch.setattr(grid_world, "play", shortest)
    rates = grid_world.self_play(None, seed=0, n=8)  # type: ignore[arg-type]
    lengths = []
    for game in grid_world.instances(0, 8):
        (y, x), (goal_y, goal_x) = divmod(game.config.start, 5), divmod(game.config.goal, 5)
        lengths.append(abs(y - goal_y) + abs(x - goal_x))
    assert rates.mean() == pytest.approx(np.mean([1 / length for length in lengths]), rel=0.05)
