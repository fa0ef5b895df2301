"""What a language model reads of a maze, as chat or as plain text, and the tokens that it answers with.

A turn's text says where the player is and what lies in each direction (Han, Chalmers & Izmailov 2026, arXiv
2605.30232, appendix K)::

    You are in a maze. Currently, you're at location (50, 49). To the east there is 🧾; to the north there is 📇; to
    the west there is 🧾; to the south there is 📐. Where do you move? Output only N/E/S/W without punctuation.

The order of the directions is drawn once a maze and is every rollout's of the maze, in every turn; one that would lead
off the grid is left out. If a wind moved the player, the text begins with ``A strong wind from the East blew you
West!``. The whole history is kept, without a system prompt. Base models read plain text instead: each text, then
``I move: `` and the letter, with blank lines between. The paper doesn't give that format; it is the released code's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.maze import CALM, DIRECTIONS, NOWHERE, Maze, MazeConfig, Seed, Tile, draw_wind, generator
from envs.maze_rollouts import Mazes

LETTERS = tuple(direction[0].upper() for direction in DIRECTIONS)
"""What answers with each action."""
AS_IS = tuple(range(len(DIRECTIONS)))
"""The order of the directions where none is drawn: north, east, south, west."""
QUESTION = "Where do you move? Output only N/E/S/W without punctuation."
ANSWER = "\n\nI move: "
"""Between a turn's text and its letter in plain text; the letter is a token of its own behind the space."""
BETWEEN = "\n\n"
"""Between a letter and the next turn's text in plain text."""
Order = tuple[int, ...]


def draw_order(seed: Seed) -> Order:
    """In which order the prompts of a maze list the directions, from the maze's seed."""
    return tuple(generator(seed, "order").permutation(len(DIRECTIONS)).tolist())


def turn_text(
    glyphs: Sequence[str], x: int, y: int, seen: Sequence[int], order: Order = AS_IS, blown: int = CALM
) -> str:
    """What the player is told before a move.

    Args:
        glyphs: what each :class:`envs.maze.Tile` looks like.
        x: column.
        y: row.
        seen: the tile in each direction, or :data:`envs.maze.NOWHERE`.
        order: in which directions are listed.
        blown: where the wind came from that has just moved the player, or :data:`envs.maze.CALM`.
    """
    listed = "; ".join(
        f"to the {DIRECTIONS[direction]} there is {glyphs[seen[direction]]}"
        for direction in order
        if seen[direction] != NOWHERE
    )
    text = f"You are in a maze. Currently, you're at location ({x}, {y}). T{listed[1:]}. {QUESTION}"
    if blown == CALM:
        return text
    source, towards = (DIRECTIONS[direction].capitalize() for direction in (blown, (blown + 2) % 4))
    return f"A strong wind from the {source} blew you {towards}! {text}"


def turn_texts(mazes: Mazes, orders: Sequence[Order]) -> list[str]:
    """What each rollout is told before its next move [n].

    Args:
        mazes: the rollouts.
        orders: one for each maze.

    Raises:
        ValueError: as many orders as there are mazes are needed.
    """
    if len(orders) != mazes.group[-1] + 1:
        raise ValueError(f"there are {mazes.group[-1] + 1} mazes and {len(orders)} orders")
    told = zip(
        mazes.x.tolist(),
        mazes.y.tolist(),
        mazes.seen.tolist(),
        mazes.group.tolist(),
        mazes.blown.tolist(),
        strict=True,
    )
    glyphs = mazes.config.glyphs
    return [turn_text(glyphs, x, y, seen, orders[group], blown) for x, y, seen, group, blown in told]


def replay(config: MazeConfig, maze: Maze, moves: Sequence[int], order: Order = AS_IS) -> list[str]:
    """What is told before each of some moves, without wind and melting.

    Raises:
        ValueError: no moves, more than there are turns, or one that leads off the grid.
    """
    if not 0 < len(moves) <= config.turns:
        raise ValueError(f"there must be 1 to {config.turns} moves, not {len(moves)}")
    mazes = Mazes(config.still, [maze], draw_wind(config.still, 1, np.random.default_rng(0))[None])
    texts = []
    for move in moves:
        texts += turn_texts(mazes, [order])
        mazes.step(np.array([move]))
    return texts


def chat(texts: Sequence[str], moves: Sequence[int]) -> list[dict[str, str]]:
    """Turns as messages, for a tokenizer's chat template.

    Args:
        texts: what was told before each move, and before one that is still to come, if there is one.
        moves: the moves.

    Raises:
        ValueError: the texts are fewer than the moves, or more by two and more.
    """
    _match(texts, moves)
    messages: list[dict[str, str]] = []
    for turn, text in enumerate(texts):
        messages.append({"role": "user", "content": text})
        if turn < len(moves):
            messages.append({"role": "assistant", "content": LETTERS[moves[turn]]})
    return messages


def plain(texts: Sequence[str], moves: Sequence[int]) -> str:
    """Turns as plain text, for a base model; see :func:`chat`. A letter must follow where a move is still to come."""
    _match(texts, moves)
    letters = [LETTERS[move] for move in moves] + [""] * (len(texts) - len(moves))
    return BETWEEN.join(f"{text}{ANSWER}{letter}" for text, letter in zip(texts, letters, strict=True))


def direction_ids(tokenizer: Any) -> tuple[int, ...]:
    """The token of each of :data:`LETTERS`, as it stands behind a space or at the beginning of an answer.

    A prompt up to the answer and the answer are tokenized apart: many tokenizers would merge the space of ``I move: ``
    with the letter if they read both at once.

    Args:
        tokenizer: a Hugging Face tokenizer.

    Raises:
        ValueError: a letter isn't a single token that the tokenizer knows, or two are the same one.
    """
    ids: list[int] = []
    for letter in LETTERS:
        found = _known(tokenizer, letter, f"the answer {letter!r}")
        if len(found) != 1:
            pieces = tokenizer.convert_ids_to_tokens(list(found))
            raise ValueError(f"the answer {letter!r} must be a single token, and the tokenizer makes it {pieces}")
        ids += found
    if len(set(ids)) < len(ids):
        raise ValueError(f"the tokenizer doesn't tell the answers {', '.join(LETTERS)} apart: their tokens are {ids}")
    return tuple(ids)


def tile_ids(tokenizer: Any, config: MazeConfig) -> dict[Tile, tuple[int, ...]]:
    """The tokens of each tile as it stands in a text, one or more.

    Raises:
        ValueError: the tokenizer doesn't know a tile, or doesn't tell two apart.
    """
    ids = {
        tile: _known(tokenizer, f" {glyph}", f"the tile {glyph!r} ({tile.name.title()})")
        for tile, glyph in zip(Tile, config.glyphs, strict=True)
    }
    if len(set(ids.values())) < len(ids):
        raise ValueError(f"the tokenizer doesn't tell the tiles {', '.join(config.glyphs)} apart")
    return ids


def _known(tokenizer: Any, text: str, what: str) -> tuple[int, ...]:
    ids = tuple(tokenizer.encode(text, add_special_tokens=False))
    if not ids or (tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids):
        raise ValueError(f"the tokenizer doesn't know {what}")
    return ids


def _match(texts: Sequence[str], moves: Sequence[int]) -> None:
    if len(texts) - len(moves) not in (0, 1):
        raise ValueError(f"{len(moves)} moves are told by as many texts or one more, not {len(texts)}")
