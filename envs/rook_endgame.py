"""King and rook against king on a 5 × 5 board: rules and tables of the task of DuPlessie (2024).

White, the agent, has a rook and a king; Black has a king and answers every move by a fixed rule. A *state* is a board
with White to move, told as one number: rook + 25 · white king + 625 · black king, each a square x + 5 · y (x: file, y:
rank, north is +y). Square names are a chess player's: square 0 is a1, square 24 is e5.

A move of White ends in one of these ways, the first that applies (``REWARDS`` gives the points):

==========  ====================================================================================================
ILLEGAL     a piece leaves the board, or goes through or onto a piece; the board stays as it was
BLUNDER     the kings stand side by side, or Black can take the rook: his king is next to it and White's isn't
CHECKMATE   Black has no move and is in check
STALEMATE   Black has no move and isn't in check
TIME_OUT    nothing of the above, and it was White's move number ``MAX_MOVES``; -100 comes in place of -1
ORDINARY    Black answers, White is to move again; -1
==========  ====================================================================================================

Black's rule ("smart"): of his legal moves those whose square is nearest to the rook, by squared distance; of those the
nearest to the centre; of those one at random. "uniform" is any legal move at random. Black never takes the rook: where
he could, the game has ended with a blunder.

A game starts with the rook on any square, the white king on any other, and the black king on any square where he is
neither attacked nor next to the white king: drawn in this order, so that starts aren't all equally likely.

Two sets of boards are to be told apart. ``LEGAL``: three pieces on three squares, 13,800 boards, which is what measures
over "all boards" run over. ``STARTS``: those among them on which White can be to move, as the draw above has it; they
are 7,040, and no game ever leaves them. Rules and tables apply to all 13,800.

What the source leaves open. A rook attacks along its line up to the first piece, so that the white king shields the
black one (without this there would be 6,960 starts); but the black king can't retreat along the line on which he is
attacked. A rook is stopped by the black king as by its own; on boards of a game it never meets him. A mate or stalemate
on the last move counts as such. At a time-out Black has answered the last move.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Whole = int | np.integer[Any] | NDArray[np.integer[Any]]
"""One whole number, or many."""

SIZE = 5
N_SQUARES = SIZE**2
N_STATES = N_SQUARES**3
MAX_MOVES = 50
"""White's moves in a game, after which it is a time-out."""

DIRECTIONS = {
    "E": (1, 0),
    "NE": (1, 1),
    "N": (0, 1),
    "NW": (-1, 1),
    "W": (-1, 0),
    "SW": (-1, -1),
    "S": (0, -1),
    "SE": (1, -1),
}
N_KING = len(DIRECTIONS)
REACH = SIZE - 1
"""The farthest that a rook goes."""
ACTIONS = (*(f"K {name}" for name in DIRECTIONS), *(f"R {name}{n}" for name in "ENWS" for n in range(1, SIZE)))
"""Names of the actions: the king's eight, then the rook's by direction and number of squares."""
N_ACTIONS = len(ACTIONS)


class Outcome(IntEnum):
    """What a move of White led to."""

    ORDINARY = 0
    ILLEGAL = 1
    BLUNDER = 2
    STALEMATE = 3
    TIME_OUT = 4
    CHECKMATE = 5


REWARDS = np.array([-1, -100, -100, -100, -100, 100], dtype=np.float64)
"""Raw reward by outcome."""


class Variant(StrEnum):
    """How Black chooses among his legal moves."""

    SMART = "smart"
    UNIFORM = "uniform"


def encode(rook: Whole, white_king: Whole, black_king: Whole) -> NDArray[np.int64]:
    """The number of a board, from three squares (of any one shape)."""
    return np.asarray(rook + N_SQUARES * white_king + N_SQUARES**2 * black_king, dtype=np.int64)


def decode(states: Whole) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Squares of rook, white king and black king, each of the shape of ``states``."""
    boards = np.asarray(states, dtype=np.int64)
    return boards % N_SQUARES, boards // N_SQUARES % N_SQUARES, boards // N_SQUARES**2


def square_name(square: int) -> str:
    """As a chess player calls it: 0 is a1, 24 is e5."""
    return f"{'abcde'[square % SIZE]}{square // SIZE + 1}"


def draw(state: int) -> str:
    """The board as lines of text, rank 5 on top: R the rook, K the white king, k the black king."""
    squares = ["."] * N_SQUARES
    for piece, letter in zip(decode(state), "RKk", strict=True):
        squares[int(piece)] = letter
    ranks = [f"{y + 1} {' '.join(squares[SIZE * y : SIZE * (y + 1)])}" for y in reversed(range(SIZE))]
    return "\n".join([*ranks, "  a b c d e"])


def _targets() -> NDArray[np.int64]:
    """Where a piece on a square [25] lands by an action [24]; -1 off the board."""
    steps = np.array(
        [*DIRECTIONS.values(), *(np.multiply(DIRECTIONS[name], n) for name in "ENWS" for n in range(1, SIZE))]
    )
    y, x = np.divmod(np.arange(N_SQUARES), SIZE)
    x, y = x[:, None] + steps[:, 0], y[:, None] + steps[:, 1]
    on_board = (x >= 0) & (x < SIZE) & (y >= 0) & (y < SIZE)
    return np.where(on_board, x + SIZE * y, -1)


TARGETS = _targets()
ALL = np.arange(N_STATES)
ROOK, WHITE_KING, BLACK_KING = decode(ALL)
"""Squares of the pieces in every state [N_STATES]."""


def distance(a: Whole, b: Whole) -> NDArray[np.int64]:
    """King's moves between two squares: 0 the same, 1 side by side."""
    return np.asarray(np.maximum(np.abs(a // SIZE - b // SIZE), np.abs(a % SIZE - b % SIZE)), dtype=np.int64)


def squared_distance(a: Whole, b: Whole) -> NDArray[np.int64]:
    """Squared length of the line between two squares."""
    return np.asarray((a // SIZE - b // SIZE) ** 2 + (a % SIZE - b % SIZE) ** 2, dtype=np.int64)


def _check() -> NDArray[np.bool_]:
    attacked = np.zeros(N_STATES, dtype=bool)
    for direction in range(len("ENWS")):
        open_line = np.ones(N_STATES, dtype=bool)
        for n in range(REACH):
            square = TARGETS[ROOK, N_KING + REACH * direction + n]
            open_line &= square != WHITE_KING
            attacked |= open_line & (square == BLACK_KING)
    return attacked


CHECK = _check()
"""The rook attacks the black king [N_STATES]; only the white king can stand between."""
LEGAL: NDArray[np.bool_] = (ROOK != WHITE_KING) & (ROOK != BLACK_KING) & (WHITE_KING != BLACK_KING)
"""Three pieces on three squares [N_STATES]: 13,800 boards."""
STARTS: NDArray[np.bool_] = LEGAL & ~CHECK & (distance(WHITE_KING, BLACK_KING) > 1)
"""Boards with White to move that a game can begin with, or come to [N_STATES]: 7,040."""


def _start_probabilities() -> NDArray[np.float64]:
    pairs = ALL % N_SQUARES**2
    choices = np.bincount(pairs, STARTS)
    weights = np.where(STARTS, 1 / np.maximum(choices, 1)[pairs], 0.0)
    return np.asarray(weights / weights.sum())


START_PROBABILITIES = _start_probabilities()
"""How likely a game starts with a board [N_STATES]."""
_CUMULATIVE = np.cumsum(START_PROBABILITIES) / START_PROBABILITIES.cumsum()[-1]


def starting_boards(uniform: float | NDArray[np.float64]) -> NDArray[np.int64]:
    """Starting boards from numbers drawn uniformly from [0, 1), of their shape."""
    return np.asarray(np.searchsorted(_CUMULATIVE, uniform, side="right"), dtype=np.int64)


@cache
def _observation_table() -> NDArray[np.float32]:
    return np.hstack([np.eye(N_SQUARES, dtype=np.float32)[piece] for piece in (ROOK, WHITE_KING, BLACK_KING)])


def observations(states: Whole) -> NDArray[np.float32]:
    """What the agent sees: one-hot squares of rook, white king and black king, [..., 75]."""
    return np.take(_observation_table(), np.asarray(states), axis=0)


def destination(states: Whole, actions: Whole) -> NDArray[np.int64]:
    """The square to which an action takes its piece, whether or not it may go there; -1 off the board."""
    rook, king, _ = decode(states)
    return np.asarray(TARGETS[np.where(np.asarray(actions) < N_KING, king, rook), actions])


@cache
def boards_after() -> NDArray[np.int64]:
    """The board after White's move, with Black to move [N_STATES, N_ACTIONS]; -1 where the move is illegal.

    Boards with two pieces on one square allow no move at all.
    """
    states, actions = ALL[:, None], np.arange(N_ACTIONS)
    square = destination(states, actions)
    king_moves = actions < N_KING
    after = np.where(
        king_moves,
        encode(ROOK[:, None], square, BLACK_KING[:, None]),
        encode(square, WHITE_KING[:, None], BLACK_KING[:, None]),
    )
    stopped = (square == BLACK_KING[:, None]) | (square == np.where(king_moves, ROOK[:, None], WHITE_KING[:, None]))
    lines = stopped[:, N_KING:].reshape(N_STATES, -1, REACH)
    stopped[:, N_KING:] = np.logical_or.accumulate(lines, axis=-1).reshape(N_STATES, -1)
    boards = np.where(LEGAL[:, None] & (square >= 0) & ~stopped, after, -1)
    boards.flags.writeable = False
    return boards


@dataclass(frozen=True, eq=False)
class Tables:
    """What every action does in every state, against one opponent.

    Attributes:
        outcome: an ``Outcome`` each [N_STATES, N_ACTIONS]; never a time-out, which the clock decides. With two pieces
            on one square every action is illegal.
        replies: states that follow, equally likely, padded with -1 [N_STATES, N_ACTIONS, 8].
        n_replies: how many there are [N_STATES, N_ACTIONS]; 0 where the game has ended.
    """

    outcome: NDArray[np.int8]
    replies: NDArray[np.int16]
    n_replies: NDArray[np.int8]


@cache
def tables(opponent: str) -> Tables:
    """The tables against ``"smart"`` or ``"uniform"``, built once.

    Raises:
        ValueError: there is no such opponent.
    """
    opponent = Variant(opponent)
    illegal = boards_after() < 0
    after = boards_after()[~illegal]
    rook, white_king, black_king = decode(after)
    blunder = distance(white_king, black_king) == 1
    blunder |= (distance(black_king, rook) == 1) & (distance(white_king, rook) > 1)

    squares = TARGETS[black_king, :N_KING]
    replies = encode(rook[:, None], white_king[:, None], squares)
    # a black king may go wherever White could be to move next: off the rook's lines and away from the other king
    allowed = (squares >= 0) & STARTS[replies]
    stuck = ~allowed.any(1)
    if opponent is Variant.SMART:
        cost = N_SQUARES * 2 * squared_distance(squares, rook[:, None]) + squared_distance(squares, N_SQUARES // 2)
        cost = np.where(allowed, cost, np.iinfo(np.int64).max)
        allowed &= cost == cost.min(1, keepdims=True)
    outcome = np.select(
        [blunder, stuck & CHECK[after], stuck],
        [Outcome.BLUNDER, Outcome.CHECKMATE, Outcome.STALEMATE],
        default=Outcome.ORDINARY,
    )
    allowed &= (outcome == Outcome.ORDINARY)[:, None]
    order = np.argsort(~allowed, axis=1, kind="stable")
    packed = np.take_along_axis(np.where(allowed, replies, -1), order, axis=1)

    made = Tables(
        np.full((N_STATES, N_ACTIONS), Outcome.ILLEGAL, dtype=np.int8),
        np.full((N_STATES, N_ACTIONS, N_KING), -1, dtype=np.int16),
        np.zeros((N_STATES, N_ACTIONS), dtype=np.int8),
    )
    made.outcome[~illegal], made.replies[~illegal], made.n_replies[~illegal] = outcome, packed, allowed.sum(1)
    for array in (made.outcome, made.replies, made.n_replies):
        array.flags.writeable = False
    return made


def advance(
    opponent: str,
    states: NDArray[np.int64],
    actions: NDArray[np.int64],
    moved: NDArray[np.int64],
    luck: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One move of White, and Black's answer, in many games at once.

    Args:
        opponent: ``"smart"`` or ``"uniform"``.
        states: boards [n].
        actions: White's moves [n].
        moved: how many moves White had made before [n].
        luck: numbers from [0, 1) that choose among Black's equally good answers [n].

    Returns:
        outcomes [n], and the boards that follow [n]; where the game has ended, the board as it then stands.
    """
    rules = tables(opponent)
    answers = rules.n_replies[states, actions]
    answer = rules.replies[states, actions, (luck * answers).astype(np.int64)]
    made = boards_after()[states, actions]
    goes_on = answers > 0
    boards = np.where(goes_on, answer, np.where(made < 0, states, made))
    late = goes_on & (moved >= MAX_MOVES - 1)
    return np.where(late, Outcome.TIME_OUT, rules.outcome[states, actions]).astype(np.int64), boards


def advance_one(opponent: str, state: int, action: int, moved: int, luck: float) -> tuple[Outcome, int]:
    """As :func:`advance`, in one game, and much faster than that with arrays of one."""
    rules = tables(opponent)
    answers = rules.n_replies.item(state, action)
    if answers:
        outcome = Outcome.ORDINARY if moved < MAX_MOVES - 1 else Outcome.TIME_OUT
        return outcome, rules.replies.item(state, action, int(luck * answers))
    made = boards_after().item(state, action)
    return Outcome(rules.outcome.item(state, action)), state if made < 0 else made
