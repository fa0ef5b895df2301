"""Ms. Pac-Man: what is seen and recorded, against the emulator played directly; and what needs no emulator."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from itertools import pairwise

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from envs import TASKS
from envs.extra import Extra
from envs.game import TERMINAL
from envs.ms_pacman import (
    ACTIONS,
    ENVIRONMENT,
    N_ACTIONS,
    N_STATES,
    SHAPE,
    MsPacmanConfig,
    MsPacmanGames,
    Outcome,
    environment,
    whole_game,
)

YELLOW = (210, 164, 74)
"""Ms. Pac-Man's own colour; the lives below the maze have it, too."""
MAZE = 172
"""Rows of the screen."""


@pytest.fixture
def emulator() -> None:
    pytest.importorskip("ale_py", reason="the emulator is an optional extra: pip install 'tdlens[atari]'")


def play(game: MsPacmanGames, seed: int = 0) -> NDArray[np.uint8]:
    """Random moves to the end, each held for a while; what was seen before each of them [T, 3, 210, 160]."""
    moves = np.random.default_rng(seed).integers(N_ACTIONS, size=game.n_decisions)
    seen = []
    while not game.done:
        seen.append(game.observation)
        game.observe()
        game.act(int(moves[len(game.steps) // 5]))
    return np.stack(seen)


def test_importing_the_tasks_imports_no_emulator() -> None:
    program = "import sys, envs; print('ale_py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"


def test_without_the_emulator_a_game_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)  # an import of it fails
    game = MsPacmanGames(MsPacmanConfig(moves=7), seed=0)
    assert game.n_decisions == 7 and not game.done
    with pytest.raises(ImportError, match=r"pip install 'tdlens\[atari\]'"):
        game.observe()


def test_an_extra_is_its_package() -> None:
    assert Extra("json", "anything").load() is import_module("json")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("moves", 0), ("max_frames", 3), ("repeat_action_probability", 1.5), ("variant", "fast")],
)
def test_settings_that_make_no_sense(setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=setting if setting != "variant" else "not a valid Variant"):
        MsPacmanConfig(**{setting: value})  # type: ignore[arg-type]


@pytest.mark.usefixtures("emulator")
def test_the_environment_is_as_published() -> None:
    games = environment(MsPacmanConfig())
    screen, info = games.reset(seed=0)
    assert screen.shape == SHAPE and screen.dtype == np.uint8 and games.observation_space.contains(screen)
    assert info["lives"] == 3 and games.action_space.n == N_ACTIONS == 9  # type: ignore[attr-defined]
    published = gymnasium.spec(ENVIRONMENT).kwargs
    assert games.spec is not None and {key: games.spec.kwargs[key] for key in published} == published
    meanings = ("noop", *(name.replace("-", "") for name in ACTIONS[1:]))
    assert meanings == tuple(name.lower() for name in games.unwrapped.get_action_meanings())  # type: ignore[attr-defined]
    games.close()


@pytest.mark.usefixtures("emulator")
def test_a_seed_gives_the_same_rollout() -> None:
    config = MsPacmanConfig(moves=120)
    first, again, other = MsPacmanGames(config, 3), MsPacmanGames(config, 3), MsPacmanGames(config, 4)
    seen = play(first)
    assert seen.shape == (120, *SHAPE) and seen.dtype == np.uint8
    assert np.array_equal(seen, play(again)) and first.steps == again.steps
    assert first.transcript() == again.transcript()
    play(other)
    assert [step.state for step in other.steps] != [step.state for step in first.steps]


@pytest.mark.usefixtures("emulator")
def test_a_rollout_is_the_emulator_s_game() -> None:
    game = MsPacmanGames(MsPacmanConfig(moves=150, repeat_action_probability=0.0), 0)
    seen = play(game, seed=2)
    direct = environment(game.config)  # whose chances are others; with no sticky actions there are none
    screen, _ = direct.reset(seed=1)
    for step, frame in zip(game.steps, seen, strict=True):
        assert np.array_equal(frame, screen)
        screen, points, *_ = direct.step(step.action)
        assert points == step.reward
    assert len({frame.tobytes() for frame in seen}) > 50  # the maze flickers at least
    assert sum(step.reward for step in game.steps) > 0
    direct.close()


@pytest.mark.usefixtures("emulator")
def test_the_state_is_where_she_is_on_the_screen() -> None:
    game = MsPacmanGames(MsPacmanConfig(moves=150), 1)
    seen = play(game, seed=2)
    places = []
    for step, frame in zip(game.steps, seen, strict=True):
        y, x = divmod(step.state, 256)
        rows, columns = np.nonzero((frame[:, :MAZE] == np.reshape(YELLOW, (3, 1, 1))).all(0))
        if len(rows) and np.ptp(columns) < 20:  # not half in the tunnel, that is, at both sides of the screen
            assert abs(rows.mean() - (y + 5)) < 3 and abs(columns.mean() - (x - 9)) < 3
            places.append((x, y))
    assert len(places) > 100 and len(set(places)) > 10
    assert all(0 <= step.state < N_STATES for step in game.steps)


@pytest.mark.usefixtures("emulator")
def test_games_follow_one_another_and_the_last_is_cut_off() -> None:
    game = MsPacmanGames(MsPacmanConfig(moves=50, max_frames=80), 0)
    play(game)
    assert [step.episode for step in game.steps] == [0] * 20 + [1] * 20 + [2] * 10
    assert [t for t, step in enumerate(game.steps) if step.done] == [19, 39]
    assert game.outcomes == [Outcome.TIME_OUT] * 2
    for before, after in pairwise(game.steps):
        assert before.next_state == (TERMINAL if before.done else after.state)
    assert game.steps[-1].next_state == game.state
    transcript = game.transcript()
    assert len(transcript.decisions) == 50
    assert {transcript.text[span.start : span.end] for span in transcript.decisions} == {"play"}
    with pytest.raises(ValueError, match="over"):
        game.act(0)
    with pytest.raises(ValueError, match="nothing more to see"):
        _ = game.observation


@pytest.mark.usefixtures("emulator")
def test_there_is_no_such_action() -> None:
    with pytest.raises(ValueError, match="no action 9"):
        MsPacmanGames(MsPacmanConfig(), 0).act(9)


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize(("frames", "moves"), [(80, 20), (81, 21)])
def test_a_whole_game_may_run_out_of_time(frames: int, moves: int) -> None:
    game = whole_game(MsPacmanConfig(max_frames=frames), 0)
    play(game)
    assert len(game.steps) == game.n_decisions == moves and game.outcomes == [Outcome.TIME_OUT]
    assert game.steps[-1].done and game.steps[-1].next_state == TERMINAL


@pytest.mark.usefixtures("emulator")
def test_a_whole_game_ends_with_the_last_life() -> None:
    game = whole_game(MsPacmanConfig(), 0)
    while not game.done:
        game.act(0)
    assert game.outcomes == [Outcome.GAME_OVER] and {step.episode for step in game.steps} == {0}
    assert ", lives: 1." in game.transcript().text and game.transcript().text.endswith("Game over.\n\n")


def test_the_task_is_seen_and_its_states_are_not_listed() -> None:
    task = TASKS["ms_pacman"]
    assert task.seen is not None and task.seen.states is None and len(task.actions) == N_ACTIONS
