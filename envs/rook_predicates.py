"""Properties of boards of the rook endgame that a chess player can check, White to move in all of them.

Every predicate is an array over all states [N_STATES]; where two pieces share a square it means nothing. Each is true
on some and false on others of the boards that occur in games, and no two are the same there. Kings side by side and a
black king in check don't occur with White to move, so "check" is here what White can give.

In definitions, a *safe* move is one that is neither illegal nor a blunder, and *distance* counts king's moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from envs.rook_endgame import (
    ACTIONS,
    BLACK_KING,
    CHECK,
    N_KING,
    N_SQUARES,
    REACH,
    ROOK,
    SIZE,
    STARTS,
    TARGETS,
    WHITE_KING,
    Outcome,
    Variant,
    boards_after,
    distance,
    encode,
    square_name,
    tables,
)

Bools = NDArray[np.bool_]
PIECES = {"rook": ROOK, "white_king": WHITE_KING, "black_king": BLACK_KING}
SIDES = {"east": (1, 0), "north": (0, 1), "west": (-1, 0), "south": (0, -1)}
ROOK_WAYS = dict(zip(SIDES, range(N_KING, len(ACTIONS), REACH), strict=True))
"""First action of the rook in each direction."""
BOXES = (1, 2, 3, 4, 6, 8, 9, 12)


@dataclass(frozen=True, eq=False)
class Predicate:
    """One property.

    Attributes:
        name: in the record.
        family: those that say the same of other squares, directions or numbers have one.
        text: when it is true, as a chess player would say it.
        holds: whether it is true in each state [N_STATES].
    """

    name: str
    family: str
    text: str
    holds: Bools


@cache
def library() -> Mapping[str, Predicate]:
    """All predicates by name, in a fixed order; computed once."""
    made: dict[str, Predicate] = {}
    for themes in (_places, _checks_and_mates, _rook_safety, _kings, _confinement, _mobility, _geometry):
        for predicate in themes():
            predicate.holds.flags.writeable = False
            made[predicate.name] = predicate
    return MappingProxyType(made)


@cache
def predicates() -> Mapping[str, Bools]:
    """The arrays of :func:`library` by name."""
    return MappingProxyType({name: predicate.holds for name, predicate in library().items()})


def family(name: str) -> str:
    """The family of a predicate. Raises KeyError if there is no such one."""
    return library()[name].family


def describe(name: str) -> str:
    """When a predicate is true. Raises KeyError if there is no such one."""
    return library()[name].text


def _places() -> Iterator[Predicate]:
    for piece, squares in PIECES.items():
        said = piece.replace("_", " ")
        for square in range(N_SQUARES):
            text = f"The {said} stands on {square_name(square)}."
            yield Predicate(f"{piece}_on_{square}", f"{piece}_square", text, squares == square)
        for line in range(SIZE):
            text = f"The {said} stands on the {'abcde'[line]}-file."
            yield Predicate(f"{piece}_file_{line}", f"{piece}_file", text, squares % SIZE == line)
        for line in range(SIZE):
            text = f"The {said} stands on rank {line + 1}."
            yield Predicate(f"{piece}_rank_{line}", f"{piece}_rank", text, squares // SIZE == line)
        x, y = np.abs(squares % SIZE - REACH // 2), np.abs(squares // SIZE - REACH // 2)
        edge, corner = np.maximum(x, y) == REACH // 2, np.minimum(x, y) == REACH // 2
        yield Predicate(f"{piece}_on_edge", "edge", f"The {said} stands on the edge of the board.", edge)
        yield Predicate(f"{piece}_in_corner", "corner", f"The {said} stands in a corner.", corner)


def _checks_and_mates() -> Iterator[Predicate]:
    outcome = tables(Variant.SMART).outcome
    safe = (outcome != Outcome.ILLEGAL) & (outcome != Outcome.BLUNDER)
    check, mate = safe & CHECK[boards_after()], outcome == Outcome.CHECKMATE
    for name, kind, moves, said in (
        ("check_available", "check", check, "give check by a safe move"),
        ("mate_in_one", "mate", mate, "mate by a move"),
    ):
        yield Predicate(name, kind, f"White can {said}.", moves.any(1))
        for side, first in ROOK_WAYS.items():
            text = f"White can {said} of the rook to the {side}."
            yield Predicate(f"{name}_{side}", f"{kind}_by_rook", text, moves[:, first : first + REACH].any(1))
    yield Predicate(
        "check_by_king",
        "check",
        "White can give check by a safe move of the king (a discovered check).",
        check[:, :N_KING].any(1),
    )
    yield Predicate("two_checks", "check", "At least two safe moves of White give check.", check.sum(1) > 1)
    yield Predicate(
        "mate_in_two",
        "mate",
        "White has no mate in one, but a move after which he has one whatever Black answers.",
        ~mate.any(1) & _all_answers_lead_to(mate.any(1)),
    )
    stalemate = outcome == Outcome.STALEMATE
    yield Predicate("stalemate_danger", "stalemate", "Some move of White is stalemate.", stalemate.any(1))
    for name, moves in (("rook", stalemate[:, N_KING:]), ("king", stalemate[:, :N_KING])):
        text = f"Some move of the {'white ' if name == 'king' else ''}{name} is stalemate."
        yield Predicate(f"stalemate_danger_by_{name}", "stalemate", text, moves.any(1))


def _all_answers_lead_to(wanted: Bools) -> Bools:
    """White has a move that leaves the game going, and after it every legal answer leads to a wanted board."""
    rules = tables(Variant.UNIFORM)
    reached = wanted[rules.replies] | (rules.replies < 0)
    return np.asarray(((rules.n_replies > 0) & reached.all(-1)).any(1))


def _rook_safety() -> Iterator[Predicate]:
    attacked, guarded = distance(ROOK, BLACK_KING) == 1, distance(ROOK, WHITE_KING) == 1
    for name, text, holds in (
        ("rook_attacked", "The black king stands next to the rook.", attacked),
        ("rook_guarded", "The white king stands next to the rook.", guarded),
        ("rook_en_prise", "Black attacks the rook and White doesn't guard it.", attacked & ~guarded),
        ("rook_held", "Black attacks the rook and White guards it.", attacked & guarded),
    ):
        yield Predicate(name, "rook_safety", text, holds)
    for side, step in (("NE", 1), ("NW", 3), ("SW", 5), ("SE", 7)):
        text = f"The black king stands next to the rook, {side} of it."
        yield Predicate(f"rook_attacked_from_{side}", "rook_attacked_from", text, TARGETS[ROOK, step] == BLACK_KING)
    own, other = distance(ROOK, WHITE_KING), distance(ROOK, BLACK_KING)
    yield Predicate(
        "rook_nearer_to_black", "race", "The rook is nearer to the black king than to its own.", other < own
    )
    yield Predicate(
        "rook_nearer_to_white", "race", "The rook is nearer to its own king than to the black one.", own < other
    )


def _apart(a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Files and ranks between two pieces, as absolute differences."""
    return np.abs(a % SIZE - b % SIZE), np.abs(a // SIZE - b // SIZE)


def _kings() -> Iterator[Predicate]:
    x, y = _apart(WHITE_KING, BLACK_KING)
    on_file, on_rank = (x == 0) & (y == 2), (x == 2) & (y == 0)
    for name, text, holds in (
        ("opposition", "The kings stand on one file or rank with one square between them.", on_file | on_rank),
        ("opposition_on_file", "The kings stand on one file with one square between them.", on_file),
        ("opposition_on_rank", "The kings stand on one rank with one square between them.", on_rank),
        ("diagonal_opposition", "The kings stand on one diagonal with one square between them.", (x == 2) & (y == 2)),
        (
            "distant_opposition",
            "The kings stand on one file or rank with three squares between them.",
            (np.minimum(x, y) == 0) & (np.maximum(x, y) == 4),
        ),
        (
            "kings_knight_apart",
            "The kings stand a knight's move apart.",
            (np.minimum(x, y) == 1) & (np.maximum(x, y) == 2),
        ),
    ):
        yield Predicate(name, "opposition", text, holds)


def _confinement() -> Iterator[Predicate]:
    (rx, ry), (kx, ky), (bx, by) = ((piece % SIZE, piece // SIZE) for piece in PIECES.values())
    for line, r, k, b in (("file", rx, kx, bx), ("rank", ry, ky, by)):
        next_to = np.abs(r - b) == 1
        yield Predicate(
            f"rook_{line}_next_to_black_king", "cut_off", f"The rook's {line} is next to the black king's.", next_to
        )
        yield Predicate(
            f"rook_{line}_between_kings",
            "cut_off",
            f"The rook's {line} lies between those of the kings.",
            (r - k) * (r - b) < 0,
        )
        yield Predicate(
            f"black_king_held_on_edge_{line}",
            "cut_off",
            f"The black king stands on an edge {line} and the rook on the {line} next to it.",
            next_to & ((b == 0) | (b == REACH)),
        )
    width, height = (np.where(r > b, r, np.where(r < b, REACH - r, 0)) for r, b in ((rx, bx), (ry, by)))
    box = width * height
    for size in BOXES:
        text = f"The rook's file and rank confine the black king to a box of at most {size} square{'s' * (size > 1)}."
        yield Predicate(f"box_at_most_{size}", "box", text, (box > 0) & (box <= size))
    corner = np.maximum(np.minimum(bx, REACH - bx), np.minimum(by, REACH - by)) <= 1
    yield Predicate("black_king_near_corner", "corner", "The black king is at most one move from a corner.", corner)


def _mobility() -> Iterator[Predicate]:
    squares = TARGETS[BLACK_KING, :N_KING]
    free = (squares >= 0) & STARTS[encode(ROOK[:, None], WHITE_KING[:, None], squares)]
    taken = (squares == ROOK[:, None]) & (distance(ROOK, WHITE_KING) > 1)[:, None]
    n_black = (free | taken).sum(1)
    for most in range(6):
        moves = f"{most} move{'s' * (most != 1)}"
        text = f"If it were Black's move he would have at most {moves}, the capture of the rook included."
        yield Predicate(f"black_moves_at_most_{most}", "black_moves", text, n_black <= most)
    outcome = tables(Variant.SMART).outcome
    n_white = ((outcome != Outcome.ILLEGAL) & (outcome != Outcome.BLUNDER)).sum(1)
    for most in (6, 8, 10, 12):
        yield Predicate(
            f"safe_moves_at_most_{most}", "safe_moves", f"White has at most {most} safe moves.", n_white <= most
        )


def _geometry() -> Iterator[Predicate]:
    pairs = (("white_king", "black_king"), ("rook", "black_king"), ("rook", "white_king"))
    for first, second in pairs:
        a, b = PIECES[first], PIECES[second]
        said = f"{first.replace('_', ' ')} and the {second.replace('_', ' ')}"
        x, y = _apart(a, b)
        for line, holds in (("file", x == 0), ("rank", y == 0), ("diagonal", x == y)):
            yield Predicate(f"{first}_{second}_same_{line}", "aligned", f"The {said} stand on one {line}.", holds)
        for away in range(2, SIZE):  # 1 never is that of the kings, and a rook attacked or guarded
            text = f"The distance of the {said} is {away}."
            yield Predicate(
                f"{first}_{second}_distance_{away}", f"{first}_{second}_distance", text, np.maximum(x, y) == away
            )
        for side, (dx, dy) in SIDES.items():
            holds = dx * (b % SIZE - a % SIZE) + dy * (b // SIZE - a // SIZE) > 0
            text = f"The {second.replace('_', ' ')} is farther {side} than the {first.replace('_', ' ')}."
            yield Predicate(f"{second}_{side}_of_{first}", f"side_of_{first}", text, holds)
