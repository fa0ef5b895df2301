"""Plans for mazes: none has more Gold, by brute force; and they play as they say."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.maze import Maze, MazeConfig, Tile, draw_maze, draw_wind, generator
from envs.maze_plans import NoWay, Plan, best_order, best_plan, distances, draw_plans
from envs.maze_rollouts import Mazes
from tests.envs.test_maze import plainly, written


def played(plan: Plan, size: int) -> Mazes:
    config = MazeConfig(size=size, turns=len(plan.moves)).still
    mazes = Mazes(config, [plan.maze], draw_wind(config, 1, np.random.default_rng(0))[None])
    for move in plan.moves:
        mazes.step(np.array([move]))
    return mazes


def most_gold(maze: Maze, turns: int) -> int:
    """By every walk that there is over what isn't Mold."""
    cells = plainly(maze).cells
    states = {(maze.start, frozenset[tuple[int, int]]())}
    for _ in range(turns):
        following = set()
        for (x, y), fetched in states:
            for to in ((x, y - 1), (x + 1, y), (x, y + 1), (x - 1, y)):
                if cells[to] != "mold":
                    following.add((to, fetched | {to} if cells[to] == "gold" else fetched))
        states = following or states
    return max(len(fetched) for _, fetched in states)


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(4, 8),
    turns=st.integers(1, 9),
    ratio=st.sampled_from([0.2, 0.5, 0.8]),
)
def test_no_walk_has_more_gold(seed: int, size: int, turns: int, ratio: float) -> None:
    rng = generator(seed, "maze")
    maze = draw_maze(MazeConfig(size=size, gold_ratio=ratio), rng)
    try:
        plan = best_plan(maze, turns, rng, max_golds=36)
    except NoWay:
        x, y = maze.start
        assert all(maze.tiles[b, a] == Tile.MOLD for a, b in ((x, y - 1), (x + 1, y), (x, y + 1), (x - 1, y)))
        return
    assert plan.gold == plan.planned == most_gold(maze, turns)
    mazes = played(plan, size)
    assert mazes.mold.sum() == 0 and mazes.gold.sum() == plan.gold
    assert mazes.gold[0, : plan.needed].sum() == plan.gold
    assert plan.needed == 0 or mazes.gold[0, plan.needed - 1] == 1  # no move too many
    assert len(plan.moves) == turns


@settings(max_examples=60)
@given(data=st.data(), k=st.integers(0, 5), most=st.integers(0, 14))
def test_orders_are_the_best_of_all_orders(data: st.DataObject, k: int, most: int) -> None:
    draw = data.draw(st.lists(st.integers(1, 9), min_size=(k + 1) ** 2, max_size=(k + 1) ** 2))
    between = np.array(draw).reshape(k + 1, k + 1)
    best = (0, 0)
    for count in range(1, k + 1):
        for places in permutations(range(1, k + 1), count):
            cost = sum(int(between[a, b]) for a, b in zip((0, *places), places, strict=False))
            if cost <= most and (count, -cost) > best:
                best = (count, -cost)
    order, needed = best_order(between, most)
    assert (len(order), -needed) == best and len(set(order)) == len(order)
    assert needed == sum(int(between[a, b]) for a, b in zip([0, *order], order, strict=False))


def test_distances_go_around_what_may_not_be_entered() -> None:
    ground = np.pad(np.array([[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 1, 1]], bool), 1)
    far = distances(ground, [(1, 1), (3, 3)], 6)
    assert far[0, 1:-1, 1:-1].tolist() == [[0, 1, 2, 3], [1, -1, -1, 4], [2, -1, 6, 5]]
    assert far[1, 1:-1, 1:-1].tolist() == [[6, 5, 4, 3], [-1, -1, -1, 2], [-1, -1, 0, 1]]
    assert (distances(ground, [(1, 1)], 2) >= 0).sum() == 5


def test_only_the_nearest_gold_is_planned_for() -> None:
    """The nearest is to the west; two lie east, one behind the other."""
    maze = written("mmmmmmm", "mgppggm", *["mmmmmmm"] * 5, start=(2, 1))
    one = [best_plan(maze, 3, np.random.default_rng(seed), max_golds=1) for seed in range(20)]
    assert {(plan.moves[0], plan.planned, plan.needed) for plan in one} == {(3, 1, 1)}
    assert {plan.moves for plan in one} == {(3, 1, 1)}  # wandering doesn't turn back while there is another way
    all_of_it = best_plan(maze, 3, np.random.default_rng(0))
    assert (all_of_it.moves, all_of_it.gold, all_of_it.needed) == ((1, 1, 1), 2, 3)
    assert best_plan(maze, 5, np.random.default_rng(0)).moves == (3, 1, 1, 1, 1)


def test_ways_among_equals_and_wandering_are_random() -> None:
    maze = written("mmmmm", "mpppm", "mpppm", "mppgm", "mmmmm", start=(1, 1))
    plans = [best_plan(maze, 7, np.random.default_rng(seed)) for seed in range(200)]
    assert {plan.needed for plan in plans} == {4}
    assert len({plan.moves[:4] for plan in plans}) == 6  # all shortest ways
    assert len({plan.moves[4:] for plan in plans}) > 2
    assert best_plan(maze, 7, np.random.default_rng(3)).moves == plans[3].moves


def test_plans_of_the_papers_mazes() -> None:
    config = MazeConfig(size=31)
    plans = list(draw_plans(config, 60, seed=1))
    assert [plan.moves for plan in plans[:5]] == [plan.moves for plan in draw_plans(config, 5, seed=1)]
    assert plans[0].moves != next(draw_plans(config, 1, seed=2)).moves
    more = list(draw_plans(config, 60, seed=1, max_golds=60))
    for plan, best in zip(plans, more, strict=True):
        mazes = played(plan, 31)
        assert mazes.mold.sum() == 0 and mazes.gold.sum() == plan.gold >= plan.planned
        assert plan.planned <= best.planned <= 15
    # a random player finds far less
    golds = np.mean([plan.gold for plan in plans])
    mazes = Mazes.seeded(config.still, range(60), 4)
    rng = np.random.default_rng(0)
    while not mazes.done:
        mazes.step(rng.integers(4, size=len(mazes)))
    assert golds > 3 > 5 * mazes.gold.sum(1).mean()


def test_a_start_alone_and_wrong_numbers_are_refused() -> None:
    rng = np.random.default_rng(0)
    alone = written("mmmm", "mpmm", "mmpm", "mmmm", start=(1, 1))
    with pytest.raises(NoWay, match=r"\(1, 1\) has nothing but Mold"):
        best_plan(alone, 5, rng)
    for turns, golds, complaint in ((0, 5, "must be turns"), (5, 0, "1 to 62"), (5, 63, "1 to 62")):
        with pytest.raises(ValueError, match=complaint):
            best_plan(alone, turns, rng, golds)
