"""The Grid World task of Demircan et al. (2025, arXiv 2410.01280, §3.2): a Q-learner's walk, told as text.

On a 5 × 5 grid an agent goes from a fixed start to a fixed goal; entering the goal gives +1 and ends the episode, any
other move -1. *Down* decreases y and *left* decreases x; a move into a wall stays where it is and costs -1 too. The
language model doesn't play: it reads what a Q-learning agent did and predicts each of its actions at the word *go*.

Four versions of the prompt tell one and the same sequence of actions:

========  ==========================================================================
variant   rewards that are told
========  ==========================================================================
true      those that the agent received
random    +1 or -1 at random after every move
removed   none
swapped   the true ones with + and - exchanged
========  ==========================================================================

The paper leaves open where start and goal lie, how exploration begins and how long an episode may last; these are
settings, and the defaults reproduce the timing of its Fig 4A.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from envs.agents.learner import EpsilonGreedy, QLearner
from envs.agents.q_learning import QLearningConfig
from envs.game import TERMINAL, Step
from envs.transcript import Span, Transcript

INSTRUCTION = (
    "You are living on a two-dimensional grid-world. You have 4 actions, left, right, up and down. "
    "Your goal is to get to the goal in as few steps as possible.\n\n"
)
DECISION_WORD = "go"
ACTIONS = (" left", " right", " up", " down")
MOVES = ((-1, 0), (1, 0), (0, 1), (0, -1))


class Variant(StrEnum):
    """The rewards that the prompt tells (paper §3.2 and its appendix)."""

    TRUE = "true"
    RANDOM = "random"
    REMOVED = "removed"
    SWAPPED = "swapped"


@dataclass(frozen=True)
class GridWorldConfig:
    """The grid, the agent that generates the actions, and the prompt.

    Raises:
        ValueError: a cell outside the grid, a start on the goal, or a number out of range.
    """

    variant: Variant = Variant.TRUE
    """Which rewards the prompt tells."""
    steps: int = 320
    """Moves in one rollout: the paper analyses the first 320."""
    size: int = 5
    """Cells along each side."""
    start_x: int = 1
    """Column where every episode starts (the paper draws column 1)."""
    start_y: int = 4
    """Row where every episode starts, counted upwards."""
    goal_x: int = 3
    """Column of the goal."""
    goal_y: int = 0
    """Row of the goal."""
    alpha: float = 0.1
    """The agent's learning rate."""
    gamma: float = 0.99
    """The agent's discount."""
    epsilon: float = 1.0
    """Probability of a random move in the first episode; it falls linearly to 0."""
    epsilon_episodes: int = 15
    """Episodes over which it falls."""
    cap: int = 20
    """Moves after which an episode ends without the goal."""
    closed_loop: bool = False
    """Whoever plays chooses the moves; no agent's are imposed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "variant", Variant(self.variant))  # plain text from a study file, too
        for name in ("start_x", "start_y", "goal_x", "goal_y"):
            if not 0 <= getattr(self, name) < self.size:
                raise ValueError(f"{name} ({getattr(self, name)}) lies outside a grid of {self.size} cells a side")
        if self.start == self.goal:
            raise ValueError("the start lies on the goal: move one of them")
        if min(self.steps, self.cap, self.epsilon_episodes) < 1:
            raise ValueError("steps, cap and epsilon_episodes must be at least 1")
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon must lie in [0, 1], not {self.epsilon}")
        QLearningConfig(self.alpha, self.gamma, window=None)

    @property
    def start(self) -> int:
        """State in which every episode starts."""
        return self.start_y * self.size + self.start_x

    @property
    def goal(self) -> int:
        """The state that ends an episode; no decision is ever taken in it."""
        return self.goal_y * self.size + self.goal_x

    @property
    def n_states(self) -> int:
        """Cells of the grid; state = y · size + x."""
        return self.size**2

    def move(self, state: int, action: int) -> int:
        """The state that an action leads to."""
        (dx, dy), (y, x) = MOVES[action], divmod(state, self.size)
        x, y = (min(max(at + d, 0), self.size - 1) for at, d in ((x, dx), (y, dy)))
        return y * self.size + x

    def exploration(self, episode: int) -> float:
        """Probability of a random move in an episode."""
        return self.epsilon * max(0.0, 1 - episode / self.epsilon_episodes)


class GridWorld:
    """One rollout of the Grid World; see :class:`envs.game.Game` for the protocol.

    An episode that reaches the cap, or the end of the rollout, ends without the goal: its last step isn't ``done``, so
    learners look ahead from the cell that it reached, and the next step belongs to the next episode.

    Args:
        config: grid, agent and prompt.
        seed: draws the agent's moves and, apart from them, random rewards: every variant tells the same moves.
    """

    actions = ACTIONS

    def __init__(self, config: GridWorldConfig, seed: int) -> None:
        moves, rewards = (np.random.default_rng((seed, stream)) for stream in range(2))
        self.config = config
        self.steps: list[Step] = []
        self.n_decisions = config.steps
        self._moves = None if config.closed_loop else agent_moves(config, moves)
        self._random_rewards = rewards.choice([-1, 1], size=config.steps)
        self._state = config.start
        self._episode = self._moved = self._points = 0
        self._text = f"{INSTRUCTION}{self._heading()}"
        self._read = 0
        self._decisions: list[Span] = []
        self._write_decision()

    @property
    def done(self) -> bool:
        return len(self.steps) == self.n_decisions

    @property
    def forced_action(self) -> int | None:
        return None if self._moves is None else self._moves[len(self.steps)]

    def observe(self) -> str:
        fresh, self._read = self._text[self._read :], len(self._text)
        return fresh

    def act(self, action: int) -> None:
        if self.done:
            raise ValueError(f"the rollout is over: all {self.n_decisions} moves have been made")
        if action not in range(len(ACTIONS)):
            names = ", ".join(f"{index} is{name}" for index, name in enumerate(ACTIONS))
            raise ValueError(f"there is no action {action}: {names}")
        state, forced = self._state, self.forced_action is not None
        reached = self.config.move(state, action)
        found = reached == self.config.goal
        reward = self._told(1 if found else -1)
        next_state = TERMINAL if found else reached
        self.steps.append(Step(self._episode, state, action, float(reward), next_state, found, forced))
        self._state, self._moved, self._points = reached, self._moved + 1, self._points + reward
        self._text += f"{ACTIONS[action]}."
        if self.config.variant is not Variant.REMOVED:
            self._text += f" You get {reward:+d} points."
        if found or self._moved == self.config.cap or self.done:
            total = "" if self.config.variant is Variant.REMOVED else f" with {self._points} points"
            self._text += f" You finished{total}.\n\n"
            self._state, self._episode = self.config.start, self._episode + 1
            self._moved = self._points = 0
            if not self.done:
                self._text += self._heading()
        if not self.done:
            self._write_decision()

    def transcript(self) -> Transcript:
        return Transcript(self._text, tuple(self._decisions))

    def _told(self, true: int) -> int:
        match self.config.variant:
            case Variant.RANDOM:
                return int(self._random_rewards[len(self.steps)])
            case Variant.SWAPPED:
                return -true
            case _:
                return true

    def _heading(self) -> str:
        return f"Episode {self._episode}:"

    def _write_decision(self) -> None:
        y, x = divmod(self._state, self.config.size)
        self._text += f" You are at {x}, {y}. You {DECISION_WORD}"
        self._decisions.append(Span(len(self._text) - len(DECISION_WORD), len(self._text)))


def agent_moves(config: GridWorldConfig, rng: np.random.Generator) -> list[int]:
    """What the generating Q-learner does: ε-greedy, after every move it learns from its whole history (paper §3.2)."""
    learner = QLearner(config.n_states, len(ACTIONS), QLearningConfig(config.alpha, config.gamma, window=None))
    actions: list[int] = []
    state, episode, moved = config.start, 0, 0
    while len(actions) < config.steps:
        learner.policy = EpsilonGreedy(config.exploration(episode))
        action = learner.act(state, rng)
        reached = config.move(state, action)
        found = reached == config.goal
        learner.update(state, action, 1.0 if found else -1.0, TERMINAL if found else reached, found)
        actions.append(action)
        state, moved = reached, moved + 1
        if found or moved == config.cap:
            state, episode, moved = config.start, episode + 1, 0
    return actions
