"""The rules of the rook endgame, against a plain reading of them square by square, and every way for a game to end."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.rook_endgame import (
    ACTIONS,
    CHECK,
    LEGAL,
    MAX_MOVES,
    N_ACTIONS,
    N_STATES,
    REWARDS,
    START_PROBABILITIES,
    STARTS,
    Outcome,
    advance,
    advance_one,
    boards_after,
    decode,
    destination,
    draw,
    encode,
    observations,
    starting_boards,
    tables,
)
from tests.envs.plain_rook import ALL_SQUARES, attacks, beside, board, made, move, named, number, result, smart


def test_tables_are_the_rules_on_boards_drawn_at_random() -> None:
    table = {name: tables(name) for name in ("smart", "uniform")}
    states = np.flatnonzero(LEGAL)
    for state in np.random.default_rng(0).choice(states, 1500, replace=False):
        rook, king, black = (ALL_SQUARES[int(square)] for square in decode(state))
        for index, action in enumerate(ACTIONS):
            after = made(rook, king, black, action)
            outcome, replies = result(rook, king, black, action)
            assert boards_after()[state, index] == (-1 if after is None else number(*after, black))
            for name, chosen in (
                ("smart", smart(replies, after[0]) if after else []),
                ("uniform", replies),
            ):
                rules = table[name]
                expected = {number(*after, to) for to in chosen} if after else set()
                assert rules.outcome[state, index] == outcome
                count = rules.n_replies[state, index]
                assert count == len(expected)
                assert set(rules.replies[state, index, :count].tolist()) == expected
                assert (rules.replies[state, index, count:] == -1).all()


def test_boards_and_starts_are_counted() -> None:
    """All boards of three pieces, and those that a rook, a white king and then a black king are drawn to."""
    placed, odds = 0, np.zeros(N_STATES)
    shares: list[Fraction] = []
    for rook, king in itertools.permutations(ALL_SQUARES, 2):
        free = [to for to in ALL_SQUARES if to not in (rook, king)]
        safe = [to for to in free if not beside(to, king) and not attacks(rook, to, king)]
        placed += len(free)
        for to in safe:
            odds[number(rook, king, to)] = 1 / (25 * 24 * len(safe))
            shares.append(Fraction(1, 25 * 24 * len(safe)))
    assert placed == LEGAL.sum() == 13_800
    assert len(shares) == STARTS.sum() == 7_040 and sum(shares) == 1
    assert pytest.approx(odds, abs=1e-15) == START_PROBABILITIES
    assert ((odds > 0) == STARTS).all() and not (STARTS & ~LEGAL).any() and not (STARTS & CHECK).any()


def test_starts_are_drawn_with_their_probabilities() -> None:
    drawn = np.bincount(starting_boards(np.random.default_rng(0).random(400_000)), minlength=N_STATES)
    assert not drawn[~STARTS].any()
    expected = 400_000 * START_PROBABILITIES[STARTS]
    statistic = ((drawn[STARTS] - expected) ** 2 / expected).sum()
    assert abs(statistic - 7_039) < 5 * np.sqrt(2 * 7_039)
    edges = starting_boards(np.array([0.0, np.nextafter(1.0, 0)]))
    assert STARTS[edges].all() and edges.tolist() == [
        np.flatnonzero(STARTS)[0],
        np.flatnonzero(STARTS)[-1],
    ]


def test_no_game_leaves_the_boards_it_can_start_with() -> None:
    for opponent in ("smart", "uniform"):
        rules = tables(opponent)
        following = rules.replies[LEGAL]
        assert STARTS[following[following >= 0]].all()
        assert ((rules.n_replies > 0) == (rules.outcome == Outcome.ORDINARY)).all()
        assert (rules.outcome[~LEGAL] == Outcome.ILLEGAL).all()


@pytest.mark.parametrize(
    ("start", "action", "outcome"),
    [
        (("a1", "c1", "e5"), "R N1", Outcome.ORDINARY),
        (("a1", "c1", "e5"), "R W1", Outcome.ILLEGAL),  # off the board
        (("a1", "c1", "e5"), "K S", Outcome.ILLEGAL),
        (("a1", "c1", "e5"), "R E2", Outcome.ILLEGAL),  # onto the king
        (("a1", "c1", "e5"), "R E3", Outcome.ILLEGAL),  # through it
        (("a1", "b1", "e5"), "K W", Outcome.ILLEGAL),  # onto the rook
        (("a1", "c3", "c5"), "K N", Outcome.BLUNDER),  # beside the black king
        (("a1", "e1", "b3"), "R N1", Outcome.BLUNDER),  # the rook can be taken
        (
            ("a1", "e1", "b2"),
            "K W",
            Outcome.BLUNDER,
        ),  # the rook is left where it can be taken
        (("a1", "b3", "d3"), "R E3", Outcome.ORDINARY),
        (("a2", "c3", "c5"), "R N3", Outcome.CHECKMATE),
        (
            ("c4", "a3", "a1"),
            "R W1",
            Outcome.STALEMATE,
        ),  # a2 is the king's, b1 and b2 the rook's
        (("b4", "c3", "a1"), "R S2", Outcome.STALEMATE),  # guarded from c3
    ],
)
def test_every_outcome_has_its_case(start: tuple[str, str, str], action: str, outcome: Outcome) -> None:
    assert STARTS[board(*start)]
    for opponent in ("smart", "uniform"):
        found, after = advance_one(opponent, board(*start), move(action), 0, 0.0)
        assert found is outcome
        if outcome is Outcome.ILLEGAL:
            assert after == board(*start)


def test_the_clock_ends_what_goes_on_and_nothing_else() -> None:
    start = board("a1", "c1", "e5")
    assert advance_one("smart", start, move("R N1"), MAX_MOVES - 2, 0.0)[0] is Outcome.ORDINARY
    late, after = advance_one("smart", start, move("R N1"), MAX_MOVES - 1, 0.0)
    assert late is Outcome.TIME_OUT
    assert named(after) == ("a2", "c1", "d4")  # Black has answered
    assert advance_one("smart", board("a2", "c3", "c5"), move("R N3"), MAX_MOVES - 1, 0.0)[0] is Outcome.CHECKMATE
    assert advance_one("smart", start, move("R W1"), MAX_MOVES - 1, 0.0)[0] is Outcome.ILLEGAL


def test_rewards_are_those_of_the_rules() -> None:
    assert {outcome.name: REWARDS[outcome] for outcome in Outcome} == {
        "ORDINARY": -1,
        "ILLEGAL": -100,
        "BLUNDER": -100,
        "STALEMATE": -100,
        "TIME_OUT": -100,
        "CHECKMATE": 100,
    }


def test_black_comes_nearest_to_the_rook_then_to_the_centre_then_by_chance() -> None:
    def replies(start: tuple[str, str, str], action: str) -> list[str]:
        picked = {advance_one("smart", board(*start), move(action), 0, luck)[1] for luck in (0.0, 0.499, 0.5, 0.999)}
        return sorted(named(board)[2] for board in picked)

    assert replies(("a4", "a1", "e3"), "R S2") == ["d3"]  # d3 is 10 from a2, d4 13
    assert replies(("a3", "e1", "b1"), "R E1") == ["c2"]  # a2 is as near to b3, and farther from c3
    assert replies(("c5", "a1", "e3"), "R S2") == ["d2", "d4"]  # mirror images


@given(data=st.data())
def test_one_game_and_many_follow_the_same_rules(data: st.DataObject) -> None:
    states = data.draw(st.lists(st.sampled_from(np.flatnonzero(LEGAL).tolist()), min_size=1, max_size=8))
    n = len(states)
    actions = data.draw(st.lists(st.integers(0, N_ACTIONS - 1), min_size=n, max_size=n))
    moved = data.draw(st.lists(st.integers(0, MAX_MOVES - 1), min_size=n, max_size=n))
    luck = data.draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=n, max_size=n))
    opponent = data.draw(st.sampled_from(["smart", "uniform"]))
    outcomes, boards = advance(opponent, *map(np.array, (states, actions, moved, luck)))
    one = [advance_one(opponent, *each) for each in zip(states, actions, moved, luck, strict=True)]
    assert list(zip(outcomes.tolist(), boards.tolist(), strict=True)) == one


def test_numbers_observations_and_destinations() -> None:
    states = np.arange(N_STATES)
    assert (encode(*decode(states)) == states).all()
    assert board("c1", "a2", "e5") == 2 + 25 * 5 + 625 * 24
    seen = observations(np.array([board("c1", "a2", "e5"), 0]))
    assert seen.shape == (2, 75) and seen.dtype == np.float32
    assert np.flatnonzero(seen[0]).tolist() == [2, 25 + 5, 50 + 24] and np.flatnonzero(seen[1]).tolist() == [0, 25, 50]
    assert observations(0).shape == (75,)
    to = [int(destination(board("c1", "a2", "e5"), move(name))) for name in ("R N3", "R E3", "K NE", "K W")]
    assert to == [17, -1, 11, -1]
    assert (
        draw(board("c1", "a2", "e5")) == "5 . . . . k\n4 . . . . .\n3 . . . . .\n2 K . . . .\n1 . . R . .\n  a b c d e"
    )


def test_actions_are_the_kings_eight_then_the_rooks_sixteen() -> None:
    assert ACTIONS[:8] == ("K E", "K NE", "K N", "K NW", "K W", "K SW", "K S", "K SE")
    assert ACTIONS[8:12] == ("R E1", "R E2", "R E3", "R E4")
    assert [name[:3] for name in ACTIONS[12::4]] == ["R N", "R W", "R S"] and len(ACTIONS) == N_ACTIONS == 24


def test_an_unknown_opponent_and_tables_that_nobody_changes() -> None:
    with pytest.raises(ValueError, match="kind"):
        tables("kind")
    with pytest.raises(ValueError, match="read-only"):
        tables("smart").outcome[0, 0] = 0
