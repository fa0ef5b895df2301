"""The maze: what is drawn, and its rules for many rollouts at once against a plain reading of them for one."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.maze import (
    CALM,
    DIRECTIONS,
    NOWHERE,
    Maze,
    MazeConfig,
    Tile,
    Variant,
    draw_maze,
    draw_wind,
    generator,
)
from envs.maze_rollouts import Mazes
from tests.envs.plain_maze import PlainMaze, plain_interior

NAMES = {Tile.MOLD: "mold", Tile.PATH: "path", Tile.GOLD: "gold"}
TILES = {"m": Tile.MOLD, "p": Tile.PATH, "g": Tile.GOLD}


def drawn(size: int, seed: int) -> Maze:
    return draw_maze(MazeConfig(size=size), generator(seed, "maze"))


def written(*rows: str, start: tuple[int, int]) -> Maze:
    return Maze(np.array([[TILES[letter] for letter in row] for row in rows], np.int8), start)


def plainly(maze: Maze, melting: bool = True) -> PlainMaze:
    return PlainMaze(
        {(x, y): NAMES[Tile(tile)] for (y, x), tile in np.ndenumerate(maze.tiles)},
        maze.start,
        melting,
    )


def calm(*shape: int) -> np.ndarray:
    return np.full(shape, CALM, np.int8)


@pytest.mark.parametrize("size", [4, 5, 31, 100])
def test_a_maze_is_what_the_paper_says_it_is(size: int) -> None:
    for seed in range(40):
        maze = drawn(size, seed)
        inner, total = maze.tiles[1:-1, 1:-1], (size - 2) ** 2
        ring = maze.tiles.copy()
        ring[1:-1, 1:-1] = Tile.MOLD
        assert (ring == Tile.MOLD).all()
        mold = int((inner == Tile.MOLD).sum())
        assert mold <= total / 2
        if size >= 31:  # the walk is too short to dig more than nine tenths
            assert mold > total / 10
        assert (inner == Tile.GOLD).sum() == max(1, int(0.2 * mold))
        x, y = maze.start
        assert maze.tiles[y, x] == Tile.PATH


def test_starts_are_the_nearest_path_north_first() -> None:
    """By distance alone, and among equals as a search does that looks north, south, east, west."""
    starts = set()
    for seed in range(300):
        maze = drawn(12, seed)
        frontier, met = [(6, 6)], {(6, 6)}
        while not any(maze.tiles[y, x] == Tile.PATH for x, y in frontier):
            following = []
            for x, y in frontier:
                for cell in ((x, y - 1), (x, y + 1), (x + 1, y), (x - 1, y)):
                    if cell not in met:
                        met.add(cell)
                        following.append(cell)
            frontier = following
        assert maze.start == next(cell for cell in frontier if maze.tiles[cell[1], cell[0]] == Tile.PATH)
        starts.add(maze.start)
    assert {(6, 6), (6, 5), (6, 7), (7, 6)} <= starts


def test_the_share_of_mold_is_uniform_and_gold_is_anywhere_on_the_path() -> None:
    mazes = [drawn(31, seed) for seed in range(1500)]
    total = 29 * 29
    counts = np.array([(maze.tiles[1:-1, 1:-1] == Tile.MOLD).sum() for maze in mazes])
    assert (counts.min(), counts.max()) == (85, 420)  # more than 84.1 and at most 420.5 of 841
    span = 420 - 85 + 1
    assert abs((counts.mean() - (85 + 420) / 2) / (span / np.sqrt(12 * len(mazes)))) < 4
    assert np.histogram(counts, bins=6, range=(85, 421))[0].min() > 1500 / 6 * 0.75
    # what isn't Mold is Gold as often in the north as in the south
    gold = np.array([(maze.tiles[1:-1, 1:-1] == Tile.GOLD) for maze in mazes])
    ground = np.array([(maze.tiles[1:-1, 1:-1] != Tile.MOLD) for maze in mazes])
    north, south = (gold[:, half].sum() / ground[:, half].sum() for half in (slice(0, 14), slice(14, 29)))
    assert north == pytest.approx(south, rel=0.05)
    assert gold.sum() / total / len(mazes) == pytest.approx(0.2 * counts.mean() / total, rel=0.01)


def test_mazes_are_distributed_as_plainly_drawn_ones() -> None:
    """Small ones, whose walks dig most of the interior: how much is Mold, and where."""
    n, rng = 6000, random.Random(0)
    plain = [plain_interior(4, rng) for _ in range(n)]
    ours = [drawn(6, seed).tiles[1:-1, 1:-1] == Tile.MOLD for seed in range(n)]
    for count in range(9):
        shares = [sum(int(mold.sum()) == count for mold in ours) / n, sum(len(mold) == count for mold in plain) / n]
        assert abs(shares[0] - shares[1]) < 4 * np.sqrt(2 * 0.25 / n), count
    for (y, x), share in np.ndenumerate(np.mean(ours, 0)):
        assert abs(share - sum((x, y) in mold for mold in plain) / n) < 4 * np.sqrt(2 * share * (1 - share) / n)


def test_the_same_seed_is_the_same_maze_and_wind_in_any_company() -> None:
    config = MazeConfig(size=12)
    alone, others = Mazes.seeded(config, [7], 3), Mazes.seeded(config, [5, 7, (1, 2)], 6)
    assert (alone.tiles[0] == others.tiles[6]).all()
    rng = np.random.default_rng(0)
    while not alone.done:
        moves = np.where(others.offered, rng.random(others.offered.shape), -1).argmax(1)
        alone.step(moves[6:9])
        others.step(moves)
        assert (alone.blown == others.blown[6:9]).all() and (alone.seen == others.seen[6:9]).all()
    assert (alone.returns == others.returns[6:9]).all()
    assert not (drawn(12, 0).tiles == drawn(12, 1).tiles).all()
    tiles = Mazes.seeded(config, [np.int64(5), (5, 1)], 1).tiles
    assert (tiles[0] == drawn(12, 5).tiles).all() and not (tiles[0] == tiles[1]).all()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(4, 9),
    melting=st.booleans(),
    probability=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    mazes=st.integers(1, 3),
    rollouts=st.integers(1, 4),
)
def test_many_rollouts_are_as_many_plain_ones(
    seed: int, size: int, melting: bool, probability: float, mazes: int, rollouts: int
) -> None:
    """On small mazes, so that edges, consumed Gold and melted tiles are met often."""
    config = MazeConfig(size=size, turns=12, wind_probability=probability, melting=melting, gold_ratio=0.9)
    seeds = [(seed, index) for index in range(mazes)]
    batch = Mazes.seeded(config, seeds, rollouts)
    groups = [draw_maze(config, generator(each, "maze")) for each in seeds]
    winds = [draw_wind(config, rollouts, generator(each, "wind")) for each in seeds]
    plain = [plainly(groups[group], melting) for group in batch.group]
    rng = np.random.default_rng(seed)
    for turn in range(config.turns):
        for game, offered, seen in zip(plain, batch.offered, batch.seen, strict=True):
            assert [letter for letter, one in zip("NESW", offered, strict=True) if one] == game.ways()
            tiles = {way: game.cells[game.beside(way)] for way in game.ways()}
            assert {way: NAMES[Tile(tile)] for way, tile in zip("NESW", seen, strict=True) if tile >= 0} == tiles
        actions = np.array([rng.choice(np.flatnonzero(offered)) for offered in batch.offered])
        rewards = batch.step(actions)
        for index, game in enumerate(plain):
            source = int(winds[batch.group[index]][index % rollouts, turn])
            game.turn("NESW"[actions[index]], None if source == CALM else "NESW"[source])
            assert (batch.x[index], batch.y[index]) == game.at
            assert rewards[index] == pytest.approx(game.reward(turn))
            assert batch.gold[index, turn] == game.entered[turn].count("gold")
            assert batch.mold[index, turn] == game.entered[turn].count("mold")
            assert bool(game.told_wind) == (batch.blown[index] != CALM)
    assert batch.done and batch.rewards.shape == (len(plain), config.turns)
    for index, (game, tiles) in enumerate(zip(plain, batch.tiles, strict=True)):
        assert batch.returns[index] == pytest.approx(game.total())
        assert batch.returns[index] == pytest.approx(batch.rewards[index].sum())
        assert {(x, y): NAMES[Tile(tile)] for (y, x), tile in np.ndenumerate(tiles)} == game.cells


def test_winds_blow_as_often_as_they_are_told_to_from_anywhere() -> None:
    wind = draw_wind(MazeConfig(turns=50), 4000, np.random.default_rng(0))
    n = wind.size
    assert abs((wind != CALM).sum() - 0.1 * n) < 4 * np.sqrt(0.09 * n)
    sources = np.bincount(wind[wind != CALM], minlength=4)
    assert len(sources) == 4 and abs(sources - 0.025 * n).max() < 4 * np.sqrt(0.025 * n)
    assert (draw_wind(MazeConfig(wind_probability=0), 100, np.random.default_rng(0)) == CALM).all()


def test_a_story_by_hand() -> None:
    """Gold is consumed and melts; Mold stays; a wind's tile counts; none blows over the edge."""
    maze = written("mmmm", "mppm", "mpgm", "mmmm", start=(1, 1))
    wind = np.array([[[CALM, 3, CALM, 0, 0, 1]]], np.int8)
    mazes = Mazes(MazeConfig(size=4, turns=6), [maze], wind)
    north, east, south, west = range(4)
    assert mazes.step(np.array([east])) == pytest.approx(-0.1)
    assert mazes.seen.tolist() == [[Tile.MOLD, Tile.MOLD, Tile.GOLD, Tile.MOLD]]  # the start has melted
    # onto Gold, and the wind from the west blows onto the ring
    assert mazes.step(np.array([south])) == pytest.approx(-0.1 + 20 - 10)
    assert (mazes.x[0], mazes.y[0], mazes.blown[0]) == (3, 2, west)
    assert mazes.seen.tolist() == [[Tile.MOLD, NOWHERE, Tile.MOLD, Tile.MOLD]]  # where Gold was is Mold
    assert mazes.offered.tolist() == [[True, False, True, True]]
    with pytest.raises(ValueError, match="east isn't offered to rollout 0"):
        mazes.step(np.array([east]))
    assert mazes.step(np.array([west])) == pytest.approx(-10.1)
    assert mazes.blown[0] == CALM
    assert mazes.step(np.array([west])) == pytest.approx(-0.1 + 0 - 10)  # onto Path, blown south onto the ring
    assert (mazes.x[0], mazes.y[0], mazes.blown[0]) == (1, 3, north)
    assert mazes.step(np.array([east])) == pytest.approx(-10.1)  # the wind from the north has nowhere to blow to
    assert (mazes.x[0], mazes.y[0], mazes.blown[0]) == (2, 3, CALM)
    assert mazes.step(np.array([west])) == pytest.approx(-20.1)
    assert (mazes.x[0], mazes.y[0], mazes.blown[0]) == (0, 3, east)
    assert mazes.done and mazes.gold.sum() == 1 and mazes.mold.sum() == 6
    assert mazes.returns == pytest.approx(20 - 60 - 0.6)
    with pytest.raises(ValueError, match="all 6 turns"):
        mazes.step(np.array([north]))


def test_rewards_are_settings() -> None:
    maze = written("mmmm", "mppm", "mpgm", "mmmm", start=(1, 2))
    config = MazeConfig(size=4, turns=2, turn_reward=0.5, gold_reward=3, mold_reward=-7, melting=False)
    mazes = Mazes(config, [maze], calm(1, 2, 2))
    mazes.step(np.array([1, 3]))
    mazes.step(np.array([3, 1]))
    assert mazes.rewards.tolist() == [[3.5, 0.5], [-6.5, 0.5]]  # the start hasn't melted


def test_tiles_look_as_in_the_paper_or_as_one_likes() -> None:
    looks = {variant: MazeConfig(variant).glyphs for variant in Variant if variant is not Variant.CUSTOM}
    assert {variant.value: (g[Tile.PATH], g[Tile.MOLD], g[Tile.GOLD]) for variant, g in looks.items()} == {
        "standard": ("🧾", "📇", "📐"),
        "swap": ("🧾", "📐", "📇"),
        "shuffle": ("📐", "🧾", "📇"),
    }
    own = MazeConfig(Variant.CUSTOM, path_tile="grey", mold_tile="blue", gold_tile="green")
    assert (own.glyphs[Tile.PATH], own.glyphs[Tile.MOLD], own.glyphs[Tile.GOLD]) == ("grey", "blue", "green")
    assert own.still.glyphs == own.glyphs and own.still.wind_probability == 0 and not own.still.melting


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"size": 3}, "at least 4"),
        ({"turns": 0}, "at least 1"),
        ({"wind_probability": 1.1}, r"\[0, 1\]"),
        ({"gold_ratio": 0.0}, "between 0 and 1"),
        ({"gold_ratio": 1.0}, "between 0 and 1"),
        ({"gold_reward": float("inf")}, "finite"),
        ({"path_tile": "x"}, "'standard' has tiles of its own"),
        ({"variant": Variant.CUSTOM}, "all different"),
        ({"variant": Variant.CUSTOM, "path_tile": "a", "mold_tile": "a", "gold_tile": "b"}, "all different"),
        ({"variant": Variant.CUSTOM, "path_tile": "a", "mold_tile": " b", "gold_tile": "c"}, "without spaces"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        MazeConfig(**wrong)  # type: ignore[arg-type]


def test_wrong_batches_and_actions_are_refused() -> None:
    config = MazeConfig(size=5, turns=2)
    maze = drawn(5, 0)
    with pytest.raises(ValueError, match="all of size 5"):
        Mazes(config, [], calm(1, 1, 2))
    with pytest.raises(ValueError, match="all of size 5"):
        Mazes(config, [maze, drawn(6, 0)], calm(2, 1, 2))
    for shape in ((1, 2), (2, 1, 2), (1, 0, 2), (1, 1, 3)):
        with pytest.raises(ValueError, match=r"\[1, rollouts, 2\]"):
            Mazes(config, [maze], calm(*shape))
    with pytest.raises(ValueError, match="seeds and rollouts"):
        Mazes.seeded(config, [], 1)
    with pytest.raises(ValueError, match="seeds and rollouts"):
        Mazes.seeded(config, [1], 0)
    mazes = Mazes.seeded(config, [0], 2)
    for actions in (np.array([0]), np.array([0.0, 1.0]), np.array([[0, 1]])):
        with pytest.raises(ValueError, match="2 integers"):
            mazes.step(actions)
    for action in (-1, len(DIRECTIONS)):
        with pytest.raises(ValueError, match="from 0 to 3: north, east, south, west"):
            mazes.step(np.array([0, action]))
    assert mazes.turn == 0 and mazes.returns.tolist() == [0, 0]


def test_mazes_need_no_torch() -> None:
    modules = "envs.maze, envs.maze_rollouts, envs.maze_prompts, envs.maze_plans, envs.maze_trajectories"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
