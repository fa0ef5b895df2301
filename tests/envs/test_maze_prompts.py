"""What is told of a maze: the texts, as chat and as plain text, and their tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from envs.maze import CALM, Maze, MazeConfig, Tile, Variant, draw_maze, draw_wind, generator
from envs.maze_prompts import (
    ANSWER,
    LETTERS,
    chat,
    direction_ids,
    draw_order,
    plain,
    replay,
    tile_ids,
    turn_text,
    turn_texts,
)
from envs.maze_rollouts import Mazes
from tests.envs.plain_maze import PlainMaze
from tests.envs.test_maze import NAMES, plainly, written

STILL = MazeConfig(size=5).still


def words(*known: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["?", *known])}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?")


def byte_level() -> PreTrainedTokenizerFast:
    """As most language models have it: letters are tokens, and a tile may be several."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [turn_text(MazeConfig().glyphs, x, 7, [0, 1, 2, 1]) for x in range(20)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def test_a_text_to_the_letter() -> None:
    glyphs = MazeConfig().glyphs
    assert turn_text(glyphs, 50, 49, [Tile.PATH, Tile.MOLD, Tile.GOLD, Tile.PATH]) == (
        "You are in a maze. Currently, you're at location (50, 49). To the north there is 🧾; to the east there is 📇; "
        "to the south there is 📐; to the west there is 🧾. Where do you move? Output only N/E/S/W without punctuation."
    )
    assert turn_text(glyphs, 0, 3, [1, 0, 2, -1], order=(3, 2, 0, 1), blown=1) == (
        "A strong wind from the East blew you West! You are in a maze. Currently, you're at location (0, 3). "
        "To the south there is 📐; to the north there is 🧾; to the east there is 📇. "
        "Where do you move? Output only N/E/S/W without punctuation."
    )


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(4, 8), variant=st.sampled_from(["standard", "swap", "shuffle"]))
def test_texts_of_many_rollouts_are_those_of_plain_ones(seed: int, size: int, variant: str) -> None:
    config = MazeConfig(Variant(variant), size=size, turns=8, wind_probability=0.5)
    seeds = [(seed, index) for index in range(3)]
    mazes, orders = Mazes.seeded(config, seeds, 2), [draw_order(each) for each in seeds]
    winds = np.concatenate([draw_wind(config, 2, generator(each, "wind")) for each in seeds])
    games = [plainly(draw_maze(config, generator(seeds[group], "maze"))) for group in mazes.group]
    looks = {NAMES[tile]: config.glyphs[tile] for tile in Tile}
    rng = np.random.default_rng(seed)
    for turn in range(config.turns):
        listed = ["".join(LETTERS[direction] for direction in orders[group]) for group in mazes.group]
        assert turn_texts(mazes, orders) == [
            game.prompt(looks, order) for game, order in zip(games, listed, strict=True)
        ]
        actions = np.array([rng.choice(np.flatnonzero(offered)) for offered in mazes.offered])
        mazes.step(actions)
        for game, action, source in zip(games, actions, winds[:, turn], strict=True):
            game.turn("NESW"[action], None if source == CALM else "NESW"[source])


def test_orders_are_drawn_once_a_maze_and_all_alike() -> None:
    orders = [draw_order(seed) for seed in range(2400)]
    assert orders == [draw_order(seed) for seed in range(2400)]
    counts = np.unique(np.array(orders), axis=0, return_counts=True)[1]
    assert len(counts) == 24 and abs(counts - 100).max() < 45
    with pytest.raises(ValueError, match="1 mazes and 2 orders"):
        turn_texts(Mazes.seeded(STILL, [0], 3), orders[:2])


def story() -> tuple[Maze, list[str], list[int]]:
    maze = written("mmmmm", "mpgpm", "mpppm", "mpppm", "mmmmm", start=(1, 1))
    moves = [1, 2, 0, 0]
    return maze, replay(MazeConfig(size=5), maze, moves, (0, 1, 2, 3)), moves


def test_a_replay_is_still_and_consumes_gold() -> None:
    maze, texts, moves = story()
    game = PlainMaze(plainly(maze).cells, maze.start, melting=False)
    looks = {NAMES[tile]: STILL.glyphs[tile] for tile in Tile}
    for text, move in zip(texts, moves, strict=True):
        assert text == game.prompt(looks, "NESW")
        game.turn("NESW"[move], None)
    assert "north there is 🧾" in texts[2]  # where Gold was
    for wrong in ([], [1] * 16):
        with pytest.raises(ValueError, match="1 to 15 moves"):
            replay(STILL, maze, wrong)
    with pytest.raises(ValueError, match="leads off the grid"):
        replay(STILL, maze, [0, 0])


def test_chat_alternates_and_may_end_on_a_question() -> None:
    _, texts, moves = story()
    whole = chat(texts, moves)
    assert [message["role"] for message in whole] == ["user", "assistant"] * 4
    assert [message["content"] for message in whole[::2]] == texts
    assert "".join(message["content"] for message in whole[1::2]) == "ESNN"
    assert chat(texts, moves[:3]) == whole[:-1]
    for fewer in (texts[:3], [*texts, "", ""]):
        with pytest.raises(ValueError, match="as many texts or one more"):
            chat(fewer, moves)
        with pytest.raises(ValueError, match="as many texts or one more"):
            plain(fewer, moves)


def test_plain_text_answers_behind_a_space() -> None:
    _, texts, moves = story()
    assert plain(texts[:2], moves[:2]) == f"{texts[0]}\n\nI move: E\n\n{texts[1]}\n\nI move: S"
    assert plain(texts[:2], moves[:1]) == f"{texts[0]}\n\nI move: E\n\n{texts[1]}\n\nI move: "
    assert plain(texts[:1], []) == texts[0] + ANSWER


def test_answers_are_single_tokens_or_refused_by_name() -> None:
    tokenizer = byte_level()
    assert [tokenizer.decode([each]) for each in direction_ids(tokenizer)] == list("NESW") == list(LETTERS)
    assert direction_ids(words("W", "S", "E", "N")) == (4, 3, 2, 1)
    with pytest.raises(ValueError, match="doesn't know the answer 'S'"):
        direction_ids(words("N", "E", "W"))

    class Lowercase:
        unk_token_id = None

        def encode(self, text: str, add_special_tokens: bool) -> list[int]:
            assert not add_special_tokens
            return [9, 5] if text == "E" else [5]

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return [f"t{each}" for each in ids]

    with pytest.raises(ValueError, match=r"answer 'E' must be a single token.*\['t9', 't5'\]"):
        direction_ids(Lowercase())
    one = Lowercase()
    one.encode = lambda text, add_special_tokens: [5]  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="tell the answers N, E, S, W apart"):
        direction_ids(one)


def test_tiles_must_be_known_and_different() -> None:
    tokenizer = byte_level()
    for config in (MazeConfig(), MazeConfig(Variant.CUSTOM, path_tile="grey", mold_tile="blue", gold_tile="🍨")):
        ids = tile_ids(tokenizer, config)
        assert [tokenizer.decode(list(ids[tile])) for tile in Tile] == [f" {glyph}" for glyph in config.glyphs]
    with pytest.raises(ValueError, match=r"doesn't know the tile '📐' \(Gold\)"):
        tile_ids(words("🧾", "📇"), MazeConfig())
    same = words("grey", "blue")
    same._tokenizer.normalizer = __import__("tokenizers").normalizers.Lowercase()
    with pytest.raises(ValueError, match="tell the tiles blue, grey, Blue apart"):
        tile_ids(same, MazeConfig(Variant.CUSTOM, path_tile="grey", mold_tile="blue", gold_tile="Blue"))
