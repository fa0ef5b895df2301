"""Ms. Pac-Man in the Arcade Learning Environment, as in DuPlessie (2024): ``ALE/MsPacman-v5``, seen as it is on screen.

An observation is the screen in full colour, [3, 210, 160] in uint8 from 0 to 255: no greyscale, no scaling, no stack of
frames. Each decision holds for four frames; at each of them the emulator keeps the frame before's action with
probability 0.25 (*sticky actions*). Nine actions, the joystick's directions. Rewards are the game's own points.

The states of the game can't be listed. What a step keeps as its state is where Ms. Pac-Man is, as the console's memory
has it: ``x + 256·y``, x the byte at 10 and y that at 16 of the 128 (the places that Anand et al. 2019, *Unsupervised
State Representation Learning in Atari*, name). On the screen that is the point (x - 9, y + 5), give or take two.

Needs ale-py, whose wheel holds the game too: ``pip install 'tdlens[atari]'``. Importing this module doesn't.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.wrappers import TransformObservation
from numpy.typing import NDArray

from envs.extra import Extra
from envs.game import TERMINAL, Step
from envs.transcript import Span, Transcript

EMULATOR = Extra(package="ale_py", name="atari")
ENVIRONMENT = "ALE/MsPacman-v5"
FRAME_SKIP = 4
"""Frames that a decision holds for, as in the environment."""
SHAPE = (3, 210, 160)
"""Of an observation: colour, row, column."""
ACTIONS = ("stay", "up", "right", "left", "down", "up-right", "up-left", "down-right", "down-left")
"""In ALE's numbering of the game's own actions; *stay* leaves the joystick alone, and she goes on as she was."""
N_ACTIONS = len(ACTIONS)
N_STATES = 256 * 256
DECISION_WORD = "play"
INSTRUCTION = "You play Ms. Pac-Man.\n\n"
X, Y = 10, 16
"""Bytes of the console's memory that hold where she is."""


class Variant(StrEnum):
    """There is one version of the game."""

    STANDARD = "standard"


class Outcome(IntEnum):
    """What a decision led to."""

    ORDINARY = 0
    GAME_OVER = 1
    """The last life was lost."""
    TIME_OUT = 2
    """The game was stopped after ``max_frames``."""


@dataclass(frozen=True)
class MsPacmanConfig:
    """How the game behaves, and how long a rollout is.

    Raises:
        ValueError: an unknown variant, no moves, a game of less than one decision, or no probability.
    """

    variant: Variant = Variant.STANDARD
    """Version of the game."""
    moves: int = 400
    """Decisions in one rollout, over as many games as it takes; the last may be cut off."""
    repeat_action_probability: float = 0.25
    """That a frame keeps the action of the one before."""
    max_frames: int = 108_000
    """Frames after which a game is stopped: half an hour of play."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "variant", Variant(self.variant))  # plain text from a study file, too
        if self.moves < 1:
            raise ValueError("moves must be at least 1")
        if self.max_frames < FRAME_SKIP:
            raise ValueError(f"max_frames must be at least {FRAME_SKIP}, the frames of one decision")
        if not 0 <= self.repeat_action_probability <= 1:
            raise ValueError("repeat_action_probability must be from 0 to 1")


def environment(config: MsPacmanConfig) -> gymnasium.Env[NDArray[np.uint8], Any]:
    """The Gymnasium environment, its screens channel first; ``info["lives"]`` counts the lives left.

    Raises:
        ImportError: ale-py isn't installed; the message says how to.
    """
    ale = EMULATOR.load()
    ale.ALEInterface.setLoggerMode(ale.LoggerMode.Error)  # else it greets on stderr
    gymnasium.register_envs(ale)
    screens = gymnasium.make(
        ENVIRONMENT,
        frameskip=FRAME_SKIP,
        repeat_action_probability=config.repeat_action_probability,
        max_num_frames_per_episode=config.max_frames,
        disable_env_checker=True,
    )
    return TransformObservation(screens, lambda screen: screen.transpose(2, 0, 1), Box(0, 255, SHAPE, np.uint8))


class MsPacmanGames:
    """One rollout: games one after another; see :class:`envs.game.Game` for the protocol.

    A game that the end of the rollout cuts off ends without an outcome: its last step isn't ``done``. One that time
    stops is ``done`` as one that is lost: the step after it belongs to another game. The emulator starts with the first
    look at the game and stops with its end, so that many games can wait, or be kept, at no cost.

    Attributes:
        outcomes: how each finished game ended.

    Args:
        config: of the game, and the length.
        seed: with the number of the game, decides all of the emulator's chances in it.
        games: end after so many games, however few moves they took; ``n_decisions`` is then an upper bound.
    """

    actions = tuple(f" {name}" for name in ACTIONS)

    def __init__(self, config: MsPacmanConfig, seed: int, games: int | None = None) -> None:
        self.config = config
        self.games = games
        self.steps: list[Step] = []
        self.n_decisions = config.moves
        self.outcomes: list[Outcome] = []
        self._seed = seed
        self._game = 0
        self._environment: gymnasium.Env[NDArray[np.uint8], Any] | None = None
        self._screen: NDArray[np.uint8] | None = None
        self._state = 0
        self._pieces: list[str] = []
        self._read = self._length = 0
        self._decisions: list[Span] = []

    @property
    def done(self) -> bool:
        return len(self.steps) == self.n_decisions or len(self.outcomes) == self.games

    @property
    def state(self) -> int:
        """Where Ms. Pac-Man is now, ``x + 256·y``; after the end of the rollout, where she was then."""
        self._begin()
        return self._state

    @property
    def observation(self) -> NDArray[np.uint8]:
        """The screen before the next decision [3, 210, 160].

        Raises:
            ValueError: the rollout is over.
        """
        self._begin()
        if self._screen is None:
            raise ValueError("the rollout is over: there is nothing more to see")
        return self._screen

    @property
    def forced_action(self) -> int | None:
        return None

    def observe(self) -> str:
        self._begin()
        fresh, self._read = self._pieces[self._read :], len(self._pieces)
        return "".join(fresh)

    def act(self, action: int) -> None:
        if self.done:
            raise ValueError(f"the rollout is over: all {len(self.steps)} moves have been made")
        if action not in range(N_ACTIONS):
            raise ValueError(f"there is no action {action}: they are 0 to {N_ACTIONS - 1}")
        self._begin()
        assert self._environment is not None
        before = self._state
        screen, points, lost, stopped, info = self._environment.step(int(action))
        reward, over = float(points), lost or stopped
        self._look(screen)
        following = TERMINAL if over else self._state
        self.steps.append(Step(self._game, before, int(action), reward, following, over, forced=False))
        self._write(f"{self.actions[action]}.{f' {reward:+.0f} points.' if reward else ''}")
        if over:
            self.outcomes.append(Outcome.GAME_OVER if lost else Outcome.TIME_OUT)
            self._write(" Game over.\n\n" if lost else " Time is up.\n\n")
            self._game += 1
        if self.done:
            self._environment.close()
            self._environment = self._screen = None
        elif over:
            self._deal()
        else:
            self._write_decision(info)

    def transcript(self) -> Transcript:
        self._begin()
        return Transcript("".join(self._pieces), tuple(self._decisions))

    def _begin(self) -> None:
        """Start the emulator, unless it runs or has done so."""
        if self._environment is None and not self.steps:
            self._environment = environment(self.config)
            self._write(INSTRUCTION)
            self._deal()

    def _deal(self) -> None:
        """Start the next game, with chances of its own."""
        assert self._environment is not None
        chance = np.random.SeedSequence((self._seed, self._game)).generate_state(1)
        screen, info = self._environment.reset(seed=int(chance[0]))
        self._look(screen)
        self._write(f"Game {self._game}:")
        self._write_decision(info)

    def _look(self, screen: NDArray[np.uint8]) -> None:
        assert self._environment is not None
        memory = self._environment.unwrapped.ale.getRAM()  # type: ignore[attr-defined]
        self._screen, self._state = screen, int(memory[X]) + 256 * int(memory[Y])

    def _write_decision(self, info: dict[str, Any]) -> None:
        y, x = divmod(self._state, 256)
        self._write(f" At {x}, {y}, lives: {info['lives']}. You {DECISION_WORD}")
        self._decisions.append(Span(self._length - len(DECISION_WORD), self._length))

    def _write(self, text: str) -> None:
        self._pieces.append(text)
        self._length += len(text)


def whole_game(config: MsPacmanConfig, seed: int) -> MsPacmanGames:
    """One game from its start to its end: the first of a rollout with this seed."""
    return MsPacmanGames(replace(config, moves=-(-config.max_frames // FRAME_SKIP)), seed, games=1)
