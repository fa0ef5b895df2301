"""A plain reading of the rook endgame's rules: coordinates, loops, one board at a time."""

from __future__ import annotations

from functools import cache

from envs.rook_endgame import ACTIONS, Outcome, decode, encode, square_name

Square = tuple[int, int]
COMPASS = {
    "E": (1, 0),
    "NE": (1, 1),
    "N": (0, 1),
    "NW": (-1, 1),
    "W": (-1, 0),
    "SW": (-1, -1),
    "S": (0, -1),
    "SE": (1, -1),
}
ALL_SQUARES = [(x, y) for y in range(5) for x in range(5)]


def board(rook: str, king: str, black: str) -> int:
    """A board from squares as a chess player writes them."""
    return int(encode(*("abcde".index(name[0]) + 5 * (int(name[1]) - 1) for name in (rook, king, black))))


def named(board: int) -> tuple[str, str, str]:
    rook, king, black = (square_name(int(square)) for square in decode(board))
    return rook, king, black


def move(action: str) -> int:
    return ACTIONS.index(action)


def beside(a: Square, b: Square) -> bool:
    return abs(a[0] - b[0]) <= 1 and abs(a[1] - b[1]) <= 1


@cache
def attacks(rook: Square, target: Square, king: Square) -> bool:
    """Walks from the rook in each direction until it meets a piece or the edge."""
    for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1)):
        at = (rook[0] + dx, rook[1] + dy)
        while at in ALL_SQUARES:
            if at == target:
                return True
            if at == king:
                break
            at = (at[0] + dx, at[1] + dy)
    return False


@cache
def made(rook: Square, king: Square, black: Square, action: str) -> tuple[Square, Square] | None:
    """Rook and white king after a move; None if it isn't allowed."""
    piece, way = action.split()
    dx, dy = COMPASS[way.rstrip("1234")]
    at = king if piece == "K" else rook
    for _ in range(int(way[-1]) if piece == "R" else 1):
        at = (at[0] + dx, at[1] + dy)
        if at not in ALL_SQUARES or at in (rook, king, black):
            return None
    return (rook, at) if piece == "K" else (at, king)


@cache
def answers(rook: Square, king: Square, black: Square) -> list[Square]:
    near = [square for square in ALL_SQUARES if square != black and beside(square, black)]
    return [to for to in near if to != rook and not beside(to, king) and not attacks(rook, to, king)]


def smart(squares: list[Square], rook: Square) -> list[Square]:
    def far(to: Square, centre: Square) -> int:
        return (to[0] - centre[0]) ** 2 + (to[1] - centre[1]) ** 2

    nearest = [to for to in squares if far(to, rook) == min(far(other, rook) for other in squares)]
    return [to for to in nearest if far(to, (2, 2)) == min(far(other, (2, 2)) for other in nearest)]


def number(*pieces: Square) -> int:
    return sum((x + 5 * y) * 25**i for i, (x, y) in enumerate(pieces))


@cache
def result(rook: Square, king: Square, black: Square, action: str) -> tuple[Outcome, list[Square]]:
    """What a move leads to, the clock aside, and Black's answers where the game goes on."""
    after = made(rook, king, black, action)
    if after is None:
        return Outcome.ILLEGAL, []
    if beside(after[1], black) or (beside(after[0], black) and not beside(after[0], after[1])):
        return Outcome.BLUNDER, []
    replies = answers(*after, black)
    if replies:
        return Outcome.ORDINARY, replies
    return (Outcome.CHECKMATE if attacks(after[0], black, after[1]) else Outcome.STALEMATE), []
