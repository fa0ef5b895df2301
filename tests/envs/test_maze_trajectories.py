"""Synthetic trajectories: they end as they should, at balanced lengths, and are drawn as walks that end well are."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.maze import MOVES, Maze, MazeConfig, Tile, draw_maze, generator
from envs.maze_trajectories import draw_moves, draw_trajectories
from tests.envs.test_maze import NAMES, plainly, written


@pytest.mark.parametrize("final", Tile)
def test_all_steps_but_the_last_enter_path(final: Tile) -> None:
    config = MazeConfig(size=31)
    trajectories = list(draw_trajectories(config, final, 100, seed=3))
    assert Counter(len(each.moves) for each in trajectories) == {
        length: 7 if length <= 10 else 6 for length in range(1, 16)
    }
    lasts = Counter((len(each.moves), each.moves[-1]) for each in trajectories[:60])
    assert len(lasts) == 60 and set(lasts.values()) == {1}
    for each in trajectories:
        game = plainly(each.maze, melting=False)
        for move in each.moves:
            game.turn("NESW"[move], None)
        entered = [tile for turn in game.entered for tile in turn]
        assert each.final == final
        assert entered == ["path"] * (len(each.moves) - 1) + [NAMES[final]]
    fewer = list(draw_trajectories(config, final, 20, seed=3))
    assert [each.moves for each in fewer] == [each.moves for each in trajectories[:20]]
    assert len({each.maze.tiles.tobytes() for each in trajectories}) == 100


def walks_that_end_well(
    maze: Maze, final: str, length: int, last: int, n: int, rng: random.Random
) -> Counter[tuple[int, ...]]:
    """By trying: each step to any Path alike, the last as wanted, from the beginning again where that can't be."""
    cells, found = plainly(maze).cells, Counter[tuple[int, ...]]()
    while found.total() < n:
        x, y = maze.start
        moves: list[int] = []
        for wanted in ["path"] * (length - 1) + [final]:
            beside = [(x, y - 1), (x + 1, y), (x, y + 1), (x - 1, y)]
            ways = [move for move, cell in enumerate(beside) if cells.get(cell) == wanted]
            if len(moves) == length - 1:
                ways = [move for move in ways if move == last]
            if not ways:
                break
            moves.append(rng.choice(ways))
            x, y = beside[moves[-1]]
        else:
            found[tuple(moves)] += 1
    return found


@pytest.mark.parametrize(
    ("final", "length", "last"), [(Tile.MOLD, 3, 0), (Tile.GOLD, 4, 2), (Tile.GOLD, 4, 3), (Tile.PATH, 3, 3)]
)
def test_walks_are_drawn_as_by_trying(final: Tile, length: int, last: int) -> None:
    maze = written("mmmmmm", "mpppgm", "mppmpm", "mgpppm", "mpmpgm", "mmmmmm", start=(2, 2))
    n = 3000
    rng = np.random.default_rng(0)
    drawn = Counter(draw_moves(maze, final, length, last, rng) for _ in range(n))
    tried = walks_that_end_well(maze, NAMES[final], length, last, n, random.Random(0))
    assert set(drawn) == set(tried) and len(drawn) > 1
    for moves, count in tried.items():
        assert abs(drawn[moves] - count) < 4.5 * np.sqrt(drawn[moves] + count), moves


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(4, 9),
    length=st.integers(1, 6),
    last=st.integers(0, 3),
    final=st.sampled_from(list(Tile)),
)
def test_there_is_none_only_where_no_walk_ends_so(seed: int, size: int, length: int, last: int, final: Tile) -> None:
    """Distance and parity, and a start that lies alone: by the set of cells that so many steps over Path lead to."""
    rng = generator(seed, "maze")
    maze = draw_maze(MazeConfig(size=size), rng)
    cells, here = plainly(maze).cells, {maze.start}
    for step, wanted in enumerate(["path"] * (length - 1) + [NAMES[final]], start=1):
        near = {(x + dx, y + dy) for x, y in here for dx, dy in (MOVES if step < length else MOVES[last : last + 1])}
        here = {cell for cell in near if cells.get(cell) == wanted}
    moves = draw_moves(maze, final, length, last, rng)
    assert (moves is None) == (not here)
    if moves is not None:
        assert len(moves) == length and moves[-1] == last


def test_parity_of_gold() -> None:
    """One Gold, two steps away: at even lengths alone, from the north or the west."""
    maze = written("mmmmm", "mpppm", "mpppm", "mppgm", "mmmmm", start=(2, 2))
    rng = np.random.default_rng(0)
    for last, reached in enumerate([False, True, True, False]):
        found = [draw_moves(maze, Tile.GOLD, length, last, rng) is not None for length in range(1, 7)]
        assert found == [False, reached] * 3


def test_wrong_lengths_are_refused() -> None:
    config = MazeConfig(size=8, turns=5)
    for longest in (0, 6):
        with pytest.raises(ValueError, match="1 to 5 moves"):
            next(draw_trajectories(config, Tile.PATH, 1, longest=longest))
    assert max(len(each.moves) for each in draw_trajectories(config, Tile.PATH, 10, longest=5)) == 5
