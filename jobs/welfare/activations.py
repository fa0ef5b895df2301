"""What the residual stream of a model holds at chosen tokens, in all blocks, from one pass over each text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.maze import MazeConfig, Seed, Tile
from envs.maze_prompts import replay
from envs.maze_trajectories import Trajectory, draw_trajectories
from jobs.inference.base import Engine, TokenBatch
from jobs.maze_training.dialogue import Dialogue
from tdlens.errors import UserError

Advance = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Row:
    """Tokens of a text, and at which of them it is read."""

    ids: Sequence[int] | NDArray[np.int32]
    places: tuple[int, ...]
    """Indices into the tokens; what lies there is averaged."""


def told(dialogue: Dialogue, config: MazeConfig, trajectory: Trajectory) -> Row:
    """A trajectory as the model reads it, up to the letter of its last move, where it is read.

    Turns list north, east, south and west in this order, without wind and melting.
    """
    ids, _ = dialogue.whole(replay(config, trajectory.maze, trajectory.moves), trajectory.moves)
    ids.append(dialogue.letters[trajectory.moves[-1]])
    # whole numbers of four bytes: the texts of a study's trajectories are kept
    return Row(np.array(ids, np.int32), (len(ids) - 1,))


def told_trajectories(
    dialogue: Dialogue, config: MazeConfig, n: int, longest: int, seed: Seed
) -> dict[Tile, list[Row]]:
    """``n`` trajectories of each class, their lengths balanced from 1 to the longest; see ``envs.maze_trajectories``.

    Raises:
        UserError: the mazes have no such trajectories.
    """
    try:
        return {
            tile: [told(dialogue, config, drawn) for drawn in draw_trajectories(config, tile, n, seed, longest)]
            for tile in Tile
        }
    except ValueError as error:
        raise UserError(
            f"There are no trajectories for concept vectors: {error}.",
            "Set concepts.longest lower, or task.settings.size or gold_ratio higher.",
        ) from error


def mean_activations(
    engine: Engine, rows: Sequence[Row], pad_id: int, batch_size: int, advance: Advance = lambda n: None
) -> Iterator[tuple[list[int], Tensor]]:
    """The residual stream in all blocks, mean over each row's places.

    Rows of similar length are read together, the longest first, so that memory that doesn't suffice is missed at once.

    Args:
        engine: the model.
        rows: what it reads.
        pad_id: any token.
        batch_size: rows read at a time.
        advance: told how many more rows have been read.

    Yields:
        Indices of some rows, and theirs [B, n_blocks + 1, d_model], float32 on the engine's device.

    Raises:
        UserError: a row is longer than the model's context.
    """
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index].ids))
    for start in range(0, len(order), batch_size):
        some = order[start : start + batch_size]
        tokens = TokenBatch.from_rows([np.asarray(rows[index].ids).tolist() for index in some], pad_id)
        positions, weights = _places([rows[index] for index in some], tokens.ids.shape[1])
        forward = engine.forward(
            tokens, positions=positions, capture=range(engine.n_blocks + 1), logits=False
        ).activations
        means = [
            torch.einsum("bpd,bp->bd", stream.float(), weights.to(stream.device))
            for stream in (forward[block] for block in range(engine.n_blocks + 1))
        ]
        yield some, torch.stack(means, dim=1)
        advance(len(some))


def class_activations(
    engine: Engine,
    told_by_class: dict[Tile, list[Row]],
    pad_id: int,
    batch_size: int,
    advance: Advance = lambda n: None,
) -> Iterator[tuple[Tile, Tensor]]:
    """The residual stream at the end of trajectories: a class, and [B, n_blocks + 1, d_model] of some of it."""
    for tile, rows in told_by_class.items():
        for _, activations in mean_activations(engine, rows, pad_id, batch_size, advance):
            yield tile, activations


def _places(rows: Sequence[Row], width: int) -> tuple[Tensor, Tensor]:
    """Columns of rows padded on the left, and the weight of each [B, P]; the first one fills up, and counts once."""
    most = max(len(row.places) for row in rows)
    columns = torch.empty(len(rows), most, dtype=torch.int64)
    weights = torch.zeros(len(rows), most)
    for index, row in enumerate(rows):
        shift = width - len(row.ids)
        places = [*row.places, *[row.places[0]] * (most - len(row.places))]
        columns[index] = torch.tensor(places) + shift
        weights[index, : len(row.places)] = 1 / len(row.places)
    return columns, weights
