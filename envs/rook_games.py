"""Ways to play the rook endgame: whole rollouts told as text, and as Gymnasium environments, one game or many at once.

The rules are in :mod:`envs.rook_endgame`. A time-out *terminates* the game: the rules give it its own reward of -100,
so nothing lies beyond it to look ahead to, although the clock isn't part of what the agent sees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from envs.game import TERMINAL, Step
from envs.rook_endgame import (
    ACTIONS,
    LEGAL,
    MAX_MOVES,
    N_ACTIONS,
    N_SQUARES,
    N_STATES,
    REWARDS,
    Outcome,
    Variant,
    advance,
    advance_one,
    decode,
    draw,
    observations,
    square_name,
    starting_boards,
)
from envs.transcript import Span, Transcript

DECISION_WORD = "play"
INSTRUCTION = (
    "You have a rook and a king on a board of 5 times 5 squares and want to checkmate a lone king. "
    f"You have {MAX_MOVES} moves.\n\n"
)


@dataclass(frozen=True)
class RookEndgameConfig:
    """The opponent, and how long a rollout is.

    Raises:
        ValueError: an unknown opponent, or no moves.
    """

    variant: Variant = Variant.SMART
    """How Black answers."""
    moves: int = 400
    """Decisions in one rollout, over as many games as it takes; the last may be cut off."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "variant", Variant(self.variant))  # plain text from a study file, too
        if self.moves < 1:
            raise ValueError("moves must be at least 1")


def deal(seed: int, game: int) -> tuple[int, NDArray[np.float64]]:
    """What chance decides in one game: the starting board, and Black's choices at each move [MAX_MOVES].

    It depends on nothing else, so that two players with equal seeds meet equal games.
    """
    chance = np.random.default_rng((seed, game)).random(1 + MAX_MOVES)
    return int(starting_boards(chance[0])), chance[1:]


class RookGames:
    """One rollout: games one after another; see :class:`envs.game.Game` for the protocol.

    A game that the end of the rollout cuts off ends without an outcome: its last step isn't ``done``.

    Attributes:
        state: the board now, with White to move.
        outcomes: how each finished game ended.

    Args:
        config: opponent and length.
        seed: with the number of the game, decides its starting board and Black's choices (:func:`deal`).
        games: end after so many games, however few moves they took; ``n_decisions`` is then an upper bound.
    """

    actions = tuple(f" {name}" for name in ACTIONS)

    def __init__(self, config: RookEndgameConfig, seed: int, games: int | None = None) -> None:
        self.config = config
        self.games = games
        self.steps: list[Step] = []
        self.n_decisions = config.moves
        self._seed = seed
        self.outcomes: list[Outcome] = []
        self._pieces: list[str] = []
        self._read = self._length = 0
        self._decisions: list[Span] = []
        self._write(INSTRUCTION)
        self._game = self._moved = 0
        self.state, self._luck = deal(seed, 0)
        self._write(f"Game {self._game}:")
        self._write_decision()

    @property
    def done(self) -> bool:
        return len(self.steps) == self.n_decisions or len(self.outcomes) == self.games

    @property
    def observation(self) -> NDArray[np.float32]:
        """What a network sees of the board now [75]."""
        return observations(self.state)

    @property
    def forced_action(self) -> int | None:
        return None

    def observe(self) -> str:
        fresh, self._read = self._pieces[self._read :], len(self._pieces)
        return "".join(fresh)

    def act(self, action: int) -> None:
        if self.done:
            raise ValueError(f"the rollout is over: all {len(self.steps)} moves have been made")
        if action not in range(N_ACTIONS):
            raise ValueError(f"there is no action {action}: they are 0 to {N_ACTIONS - 1}")
        luck = self._luck.item(self._moved)
        outcome, reached = advance_one(self.config.variant, self.state, int(action), self._moved, luck)
        over = outcome is not Outcome.ORDINARY
        reward = float(REWARDS[outcome])
        following = TERMINAL if over else reached
        self.steps.append(Step(self._game, self.state, int(action), reward, following, over, forced=False))
        self.state, self._moved = reached, self._moved + 1
        self._write(f"{self.actions[action]}.")
        if over:
            self.outcomes.append(outcome)
            self._write(f" {outcome.name.replace('_', '-').capitalize()}: {reward:+.0f} points.\n\n")
            if not self.done:
                self._game, self._moved = self._game + 1, 0
                self.state, self._luck = deal(self._seed, self._game)
                self._write(f"Game {self._game}:")
        if not self.done:
            self._write_decision()

    def transcript(self) -> Transcript:
        return Transcript("".join(self._pieces), tuple(self._decisions))

    def _write_decision(self) -> None:
        rook, king, black = (square_name(int(piece)) for piece in decode(self.state))
        self._write(f" Rook {rook}, king {king}, black king {black}. You {DECISION_WORD}")
        self._decisions.append(Span(self._length - len(DECISION_WORD), self._length))

    def _write(self, text: str) -> None:
        self._pieces.append(text)
        self._length += len(text)


def whole_game(config: RookEndgameConfig, seed: int) -> RookGames:
    """One game from its start to its end: the first of a rollout with this seed."""
    return RookGames(replace(config, moves=MAX_MOVES), seed, games=1)


def _chosen_board(state: Any) -> NDArray[np.int64]:
    """A board or boards that a caller wants to begin with."""
    boards = np.asarray(state)
    if not np.issubdtype(boards.dtype, np.integer) or ((boards < 0) | (boards >= N_STATES)).any():
        raise ValueError(f"a board is a number from 0 to {N_STATES - 1}, not {state}")
    if not LEGAL[boards].all():
        raise ValueError(f"two pieces stand on one square: {boards[~LEGAL[boards]].tolist()}")
    return boards.astype(np.int64)


OBSERVATION_SPACE = Box(0.0, 1.0, (3 * N_SQUARES,), np.float32)


class RookEndgame(gymnasium.Env[NDArray[np.float32], np.int64]):
    """One game at a time. Observations are :func:`envs.rook_endgame.observations`, actions ``ACTIONS``.

    ``info`` holds ``state``, the board as a number (after the end, as it then stands), and after a move ``outcome``, an
    ``Outcome``. ``reset(options={"state": board})`` begins with that board; otherwise the board is drawn.

    Args:
        opponent: ``"smart"`` or ``"uniform"``.
        render_mode: ``"ansi"`` or None.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 (declared on the instance)

    def __init__(self, opponent: str = Variant.SMART, render_mode: str | None = None) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode must be 'ansi' or None, not {render_mode!r}")
        self.opponent, self.render_mode = Variant(opponent), render_mode
        self.observation_space, self.action_space = OBSERVATION_SPACE, Discrete(N_ACTIONS)
        self._state: int | None = None
        self._moved, self._over = 0, True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        chosen = (options or {}).get("state")
        self._state = int(starting_boards(self.np_random.random()) if chosen is None else _chosen_board(chosen))
        self._moved, self._over = 0, False
        return observations(self._state), {"state": self._state}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if self._state is None or self._over:
            raise ValueError("no game is under way: call reset first")
        if not self.action_space.contains(action):
            raise ValueError(f"there is no action {action}: they are 0 to {N_ACTIONS - 1}")
        luck = self.np_random.random()
        outcome, self._state = advance_one(self.opponent, self._state, int(action), self._moved, luck)
        self._moved, self._over = self._moved + 1, outcome is not Outcome.ORDINARY
        info = {"state": self._state, "outcome": int(outcome)}
        return observations(self._state), float(REWARDS[outcome]), self._over, False, info

    def render(self) -> str | None:
        """The board as text, if ``render_mode`` is ``"ansi"``."""
        if self._state is None:
            raise ValueError("there is no board yet: call reset first")
        return draw(self._state) if self.render_mode == "ansi" else None


class RookEndgameVector(VectorEnv[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]):
    """Many games at once, each move a few table lookups for all of them.

    Where a game ends, the same step starts the next one (``AutoresetMode.SAME_STEP``): the observation is the new
    game's, and ``info`` holds the last one's as ``final_obs`` and ``final_info`` with their masks, as
    :class:`gymnasium.vector.SyncVectorEnv` does. One generator serves all games.

    Args:
        num_envs: games side by side.
        opponent: ``"smart"`` or ``"uniform"``.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int, opponent: str = Variant.SMART) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs}")
        self.num_envs, self.opponent = num_envs, Variant(opponent)
        self.single_observation_space, self.single_action_space = OBSERVATION_SPACE, Discrete(N_ACTIONS)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._states: NDArray[np.int64] | None = None
        self._moved = np.zeros(num_envs, dtype=np.int64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """New games everywhere; ``options={"state": boards}`` begins with those [num_envs], or with one everywhere."""
        super().reset(seed=seed)
        chosen = (options or {}).get("state")
        boards = starting_boards(self.np_random.random(self.num_envs)) if chosen is None else _chosen_board(chosen)
        self._states = np.broadcast_to(boards, self.num_envs).copy()
        self._moved[:] = 0
        return observations(self._states), {"state": self._states.copy(), "_state": self._mask(True)}

    def step(
        self, actions: ArrayLike
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        actions = np.asarray(actions)
        if self._states is None:
            raise ValueError("no game is under way: call reset first")
        if actions.shape != (self.num_envs,) or ((actions < 0) | (actions >= N_ACTIONS)).any():
            raise ValueError(f"actions must be {self.num_envs} numbers from 0 to {N_ACTIONS - 1}, not {actions}")
        luck = self.np_random.random(self.num_envs)
        outcomes, boards = advance(self.opponent, self._states, actions, self._moved, luck)
        over = outcomes != Outcome.ORDINARY
        self._moved += 1
        ended = np.flatnonzero(over)
        info: dict[str, Any] = {}
        if len(ended):
            last = np.full(self.num_envs, None, dtype=object)
            for game, seen in zip(ended, observations(boards[ended]), strict=True):
                last[game] = seen
            final = {"state": np.where(over, boards, 0), "outcome": np.where(over, outcomes, 0)}
            final |= {f"_{key}": over.copy() for key in ("state", "outcome")}
            info |= {"final_obs": last, "_final_obs": over.copy(), "final_info": final, "_final_info": over.copy()}
            boards[ended] = starting_boards(self.np_random.random(len(ended)))
            self._moved[ended] = 0
        self._states = boards
        info |= {"state": boards.copy(), "_state": self._mask(True)}
        info |= {"outcome": np.where(over, 0, outcomes), "_outcome": ~over}
        return observations(boards), REWARDS[outcomes], over, self._mask(False), info

    def _mask(self, value: bool) -> NDArray[np.bool_]:
        return np.full(self.num_envs, value)
