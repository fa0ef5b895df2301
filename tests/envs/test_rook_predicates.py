"""Every predicate against what it says, worked out square by square; and a few positions of the textbook."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from envs.rook_endgame import ACTIONS, LEGAL, N_STATES, STARTS, Outcome, decode, tables
from envs.rook_predicates import describe, family, library, predicates
from tests.envs.plain_rook import ALL_SQUARES, Square, answers, attacks, beside, board, made, result

Pieces = tuple[Square, Square, Square]
WAYS = {"east": "E", "north": "N", "west": "W", "south": "S"}
NAMES = ("rook", "white_king", "black_king")


def away(a: Square, b: Square) -> int:
    return max(abs(a[0] - b[0]), abs(a[1] - b[1]))


def moves_to(pieces: Pieces, wanted: Callable[[Outcome, Square, Square], bool], start: str = "") -> int:
    """How many moves, of those whose name begins so, are allowed and lead to what is wanted."""
    n = 0
    for action in ACTIONS:
        after = made(*pieces, action)
        if action.startswith(start) and after is not None:
            n += wanted(result(*pieces, action)[0], *after)
    return n


def checks(pieces: Pieces, start: str = "") -> int:
    black = pieces[2]
    return moves_to(pieces, lambda o, rook, king: o != Outcome.BLUNDER and attacks(rook, black, king), start)


def mates(pieces: Pieces, start: str = "") -> int:
    return moves_to(pieces, lambda outcome, *_: outcome == Outcome.CHECKMATE, start)


def mate_in_two(pieces: Pieces) -> bool:
    if mates(pieces):
        return False
    for action in ACTIONS:
        outcome, replies = result(*pieces, action)
        after = made(*pieces, action)
        if outcome == Outcome.ORDINARY and after and all(mates((*after, to)) for to in replies):
            return True
    return False


def box(pieces: Pieces) -> int:
    """Squares that the black king could wander over without crossing the rook's lines; 0 if he stands on one."""
    rook, _, black = pieces
    if black[0] == rook[0] or black[1] == rook[1]:
        return 0
    found, frontier = {black}, [black]
    while frontier:
        at = frontier.pop()
        for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1)):
            to = (at[0] + dx, at[1] + dy)
            if to in ALL_SQUARES and to[0] != rook[0] and to[1] != rook[1] and to not in found:
                found.add(to)
                frontier.append(to)
    return len(found)


def black_moves(pieces: Pieces) -> int:
    rook, king, black = pieces
    return len(answers(*pieces)) + (beside(rook, black) and not beside(rook, king))


def safe_moves(pieces: Pieces) -> int:
    return moves_to(pieces, lambda outcome, *_: outcome != Outcome.BLUNDER)


def edge(at: Square) -> int:
    """How many edges a square lies on."""
    return (at[0] in (0, 4)) + (at[1] in (0, 4))


def between(a: int, at: int, b: int) -> bool:
    return at in range(min(a, b) + 1, max(a, b))


def apart(pieces: Pieces) -> tuple[int, int]:
    _, king, black = pieces
    return abs(king[0] - black[0]), abs(king[1] - black[1])


PLAIN: dict[str, Callable[[Pieces], bool]] = {
    "check_available": lambda p: checks(p) > 0,
    "two_checks": lambda p: checks(p) > 1,
    "check_by_king": lambda p: checks(p, "K") > 0,
    "mate_in_one": lambda p: mates(p) > 0,
    "mate_in_two": mate_in_two,
    "stalemate_danger": lambda p: moves_to(p, lambda outcome, *_: outcome == Outcome.STALEMATE) > 0,
    "stalemate_danger_by_rook": lambda p: moves_to(p, lambda outcome, *_: outcome == Outcome.STALEMATE, "R") > 0,
    "stalemate_danger_by_king": lambda p: moves_to(p, lambda outcome, *_: outcome == Outcome.STALEMATE, "K") > 0,
    "rook_attacked": lambda p: beside(p[0], p[2]),
    "rook_guarded": lambda p: beside(p[0], p[1]),
    "rook_en_prise": lambda p: beside(p[0], p[2]) and not beside(p[0], p[1]),
    "rook_held": lambda p: beside(p[0], p[2]) and beside(p[0], p[1]),
    "rook_attacked_from_NE": lambda p: p[2] == (p[0][0] + 1, p[0][1] + 1),
    "rook_attacked_from_NW": lambda p: p[2] == (p[0][0] - 1, p[0][1] + 1),
    "rook_attacked_from_SW": lambda p: p[2] == (p[0][0] - 1, p[0][1] - 1),
    "rook_attacked_from_SE": lambda p: p[2] == (p[0][0] + 1, p[0][1] - 1),
    "rook_nearer_to_black": lambda p: away(p[0], p[2]) < away(p[0], p[1]),
    "rook_nearer_to_white": lambda p: away(p[0], p[1]) < away(p[0], p[2]),
    "opposition": lambda p: apart(p) in ((0, 2), (2, 0)),
    "opposition_on_file": lambda p: apart(p) == (0, 2),
    "opposition_on_rank": lambda p: apart(p) == (2, 0),
    "diagonal_opposition": lambda p: apart(p) == (2, 2),
    "distant_opposition": lambda p: apart(p) in ((0, 4), (4, 0)),
    "kings_knight_apart": lambda p: apart(p) in ((1, 2), (2, 1)),
    "rook_file_next_to_black_king": lambda p: abs(p[0][0] - p[2][0]) == 1,
    "rook_rank_next_to_black_king": lambda p: abs(p[0][1] - p[2][1]) == 1,
    "rook_file_between_kings": lambda p: between(p[1][0], p[0][0], p[2][0]),
    "rook_rank_between_kings": lambda p: between(p[1][1], p[0][1], p[2][1]),
    "black_king_held_on_edge_file": lambda p: (p[2][0], p[0][0]) in ((0, 1), (4, 3)),
    "black_king_held_on_edge_rank": lambda p: (p[2][1], p[0][1]) in ((0, 1), (4, 3)),
    "black_king_near_corner": lambda p: any(away(p[2], at) <= 1 for at in ALL_SQUARES if edge(at) == 2),
}


def patterned(name: str) -> Callable[[Pieces], bool]:
    """The plain reading of a predicate whose name holds a piece, a direction or a number."""
    if found := re.fullmatch(r"(check_available|mate_in_one)_(\w+)", name):
        count = checks if found[1] == "check_available" else mates
        return lambda p: count(p, f"R {WAYS[found[2]]}") > 0
    if found := re.fullmatch(r"(box|black_moves|safe_moves)_at_most_(\d+)", name):
        most = int(found[2])
        if found[1] == "box":
            return lambda p: 1 <= box(p) <= most
        return lambda p: (black_moves if found[1] == "black_moves" else safe_moves)(p) <= most
    if found := re.fullmatch(r"(\w+)_(east|north|west|south)_of_(\w+)", name):
        a, b = NAMES.index(found[1]), NAMES.index(found[3])
        axis, sign = {"east": (0, 1), "north": (1, 1), "west": (0, -1), "south": (1, -1)}[found[2]]
        return lambda p: sign * p[a][axis] > sign * p[b][axis]
    if found := re.fullmatch(r"(rook|white_king)_(white_king|black_king)_(same|distance)_(\w+)", name):
        a, b = NAMES.index(found[1]), NAMES.index(found[2])
        if found[3] == "distance":
            return lambda p: away(p[a], p[b]) == int(found[4])
        return {
            "file": lambda p: p[a][0] == p[b][0],
            "rank": lambda p: p[a][1] == p[b][1],
            "diagonal": lambda p: abs(p[a][0] - p[b][0]) == abs(p[a][1] - p[b][1]),
        }[found[4]]
    found = re.fullmatch(r"(rook|white_king|black_king)_(on|file|rank|on_edge|in_corner)_?(\d*)", name)
    assert found is not None, name
    piece = NAMES.index(found[1])
    return {
        "on": lambda p: ALL_SQUARES.index(p[piece]) == int(found[3]),
        "file": lambda p: p[piece][0] == int(found[3]),
        "rank": lambda p: p[piece][1] == int(found[3]),
        "on_edge": lambda p: edge(p[piece]) >= 1,
        "in_corner": lambda p: edge(p[piece]) == 2,
    }[found[2]]


def test_every_predicate_is_what_it_says() -> None:
    rng = np.random.default_rng(0)
    states = np.concatenate(
        [rng.choice(np.flatnonzero(STARTS), 500, False), rng.choice(np.flatnonzero(LEGAL), 150, False)]
    )
    boards: list[Pieces] = [tuple(ALL_SQUARES[int(square)] for square in decode(state)) for state in states]  # type: ignore[misc]
    for name, holds in predicates().items():
        plain = PLAIN.get(name) or patterned(name)
        assert [bool(plain(pieces)) for pieces in boards] == holds[states].tolist(), name
    assert set(PLAIN) <= set(predicates())


def test_rare_ones_on_boards_where_they_are_true() -> None:
    rng = np.random.default_rng(1)
    for name, holds in predicates().items():
        true = np.flatnonzero(holds & STARTS)
        if len(true) < 1000:
            plain = PLAIN.get(name) or patterned(name)
            for state in rng.choice(true, min(12, len(true)), False):
                pieces = tuple(ALL_SQUARES[int(square)] for square in decode(state))
                assert plain(pieces), (name, pieces)  # type: ignore[arg-type]


def test_each_tells_something_and_no_two_the_same() -> None:
    seen: dict[bytes, str] = {}
    for name, predicate in library().items():
        assert predicate.name == name and predicate.holds.shape == (N_STATES,) and predicate.holds.dtype == bool
        here = predicate.holds[STARTS]
        assert 0 < here.sum() < len(here), name
        assert here.tobytes() not in seen, (name, seen.get(here.tobytes()))
        seen[here.tobytes()] = name
        assert describe(name) == predicate.text and predicate.text[0].isupper() and predicate.text.endswith(".")
        assert family(name) == predicate.family
    assert len({predicate.text for predicate in library().values()}) == len(library())
    assert list(predicates()) == list(library())
    with pytest.raises(ValueError, match="read-only"):
        predicates()["opposition"][0] = True


def test_mate_in_one_is_the_tables() -> None:
    for opponent in ("smart", "uniform"):
        mate = (tables(opponent).outcome == Outcome.CHECKMATE).any(1)
        assert (predicates()["mate_in_one"] == mate)[LEGAL].all()


@pytest.mark.parametrize(
    ("pieces", "true", "false"),
    [
        (
            ("a2", "c3", "c5"),
            ["mate_in_one", "mate_in_one_north", "opposition_on_file"],
            ["mate_in_two", "rook_en_prise"],
        ),
        (("d4", "c4", "a5"), ["box_at_most_3", "rook_guarded"], ["box_at_most_2", "rook_attacked", "opposition"]),
        (("d4", "a1", "e5"), ["box_at_most_1", "rook_en_prise", "rook_attacked_from_NE"], ["rook_held"]),
        (("a3", "c3", "e3"), ["check_by_king", "rook_black_king_same_rank", "opposition_on_rank"], ["box_at_most_12"]),
        (
            ("b4", "c3", "a1"),
            ["stalemate_danger_by_rook", "black_king_held_on_edge_file"],
            ["stalemate_danger_by_king"],
        ),
    ],
)
def test_positions_of_the_textbook(pieces: tuple[str, str, str], true: list[str], false: list[str]) -> None:
    state = board(*pieces)
    assert STARTS[state]
    assert {name: bool(predicates()[name][state]) for name in (*true, *false)} == dict.fromkeys(
        true, True
    ) | dict.fromkeys(false, False)
