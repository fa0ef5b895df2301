"""The Two-Step task of Demircan et al. (2025, arXiv 2410.01280, §3.1 and appendix A).

From the start state *left* and *right* lead to one of two fruits without reward; there *left* and *right* end
the episode with points. Transitions and rewards are deterministic. Three variants make up the SAE's training set:

=======================  ======================  ====================================================
variant                  episodes 0-14           from episode 15 on
=======================  ======================  ====================================================
standard                 X = {1, 8}, Y = {2, 5}  the same
reward_disruption        X = {1, 8}, Y = {2, 5}  1 → 10, 8 → 3, 2 → 9, 5 → 2
transition_disruption    X = {1, 2}, Y = {7, 9}  the first choice leads to the other fruit; points stay
=======================  ======================  ====================================================

Which side leads to X, which fruit X is and which side of a fruit pays more are drawn per seed: the paper leaves
them open, and a fixed layout would let a model win without learning.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from envs.game import TERMINAL, Step
from envs.transcript import Span, Transcript

INSTRUCTION = (
    "You are an optimal reinforcement learning agent. You are playing a little game. "
    "You have two actions, Left and Right. Your goal is to get as many points as possible within an episode. "
    "Here we go.\n\n"
)
DECISION_WORD = "pick"
ACTIONS = (" left", " right")
FRUITS = ("apple", "orange")
START, APPLE, ORANGE = 0, 1, 2
N_STATES = 3


class Variant(StrEnum):
    """The three versions of the task (paper §3.1; contents read off its Fig 3)."""

    STANDARD = "standard"
    REWARD_DISRUPTION = "reward_disruption"
    TRANSITION_DISRUPTION = "transition_disruption"


STANDARD_POINTS = ((1, 8), (2, 5))
DISRUPTED_POINTS = {1: 10, 8: 3, 2: 9, 5: 2}
TRANSITION_POINTS = ((1, 2), (7, 9))


@dataclass(frozen=True)
class TwoStepConfig:
    """A task whose instances differ only by their seed."""

    variant: Variant = Variant.STANDARD
    """Which of the three versions."""
    episodes: int = 30
    """Episodes in one rollout, two decisions each."""
    random_episodes: int = 7
    """Leading episodes played by a uniformly random policy, the same for every player of a seed."""
    change_episode: int = 15
    """First episode after the disruption (no effect in the standard variant)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "variant", Variant(self.variant))  # plain text from a study file, too
        if not 0 <= self.random_episodes <= self.episodes or self.episodes < 1:
            raise ValueError(
                f"random_episodes ({self.random_episodes}) must lie between 0 and episodes ({self.episodes})"
            )


@dataclass(frozen=True)
class Layout:
    """One phase of one instance: where each first choice leads and what each leaf pays."""

    fruit_of: tuple[int, int]
    """State (1 apple, 2 orange) reached by left and by right from the start."""
    points: tuple[tuple[int, int], tuple[int, int]]
    """``points[fruit - 1][action]``."""

    def best_return(self) -> int:
        """The most points one episode can give."""
        return max(max(pair) for pair in self.points)


class TwoStep:
    """One rollout of the Two-Step task; see :class:`envs.game.Game` for the protocol.

    Args:
        config: the variant and its lengths.
        seed: draws the layout and the random episodes' actions.
        phases: the layouts before and after the change; drawn from the variant if not given.
    """

    actions = ACTIONS

    def __init__(self, config: TwoStepConfig, seed: int, phases: tuple[Layout, Layout] | None = None) -> None:
        rng = np.random.default_rng(seed)
        self.config = config
        self.phases = phases or draw_phases(config.variant, rng)
        self.steps: list[Step] = []
        self.n_decisions = 2 * config.episodes
        self._exploration = rng.integers(2, size=2 * config.random_episodes)
        self._text = INSTRUCTION
        self._read = 0
        self._decisions: list[Span] = []
        self._state = START
        self._write_decision()

    @property
    def episode(self) -> int:
        """Index of the episode being played."""
        return len(self.steps) // 2

    @property
    def done(self) -> bool:
        return self.episode >= self.config.episodes

    @property
    def forced_action(self) -> int | None:
        return int(self._exploration[len(self.steps)]) if len(self.steps) < len(self._exploration) else None

    @property
    def layout(self) -> Layout:
        """The phase that holds in the current episode."""
        return self.phases[self.episode >= self.config.change_episode]

    def observe(self) -> str:
        fresh, self._read = self._text[self._read :], len(self._text)
        return fresh

    def act(self, action: int) -> None:
        if self.done:
            raise ValueError(f"the rollout is over: all {self.config.episodes} episodes have been played")
        if action not in range(len(ACTIONS)):
            raise ValueError(f"there is no action {action}: 0 is{ACTIONS[0]}, 1 is{ACTIONS[1]}")
        forced = self.forced_action is not None
        episode, state, layout = self.episode, self._state, self.layout
        if state == START:
            reward, self._state = 0, layout.fruit_of[action]
            self._text += f"{ACTIONS[action]}. You see an {FRUITS[self._state - 1]}."
        else:
            reward, self._state = layout.points[state - 1][action], START
            self._text += f"{ACTIONS[action]}. You get {reward} points. Episode is over.\n\n"
        done = state != START
        next_state = TERMINAL if done else self._state
        self.steps.append(Step(episode, state, action, float(reward), next_state, done, forced))
        if not self.done:
            self._write_decision()

    def transcript(self) -> Transcript:
        return Transcript(self._text, tuple(self._decisions))

    def _write_decision(self) -> None:
        prefix = f"Episode {self.episode}: " if self._state == START else " "
        self._text += f"{prefix}You {DECISION_WORD}"
        self._decisions.append(Span(len(self._text) - len(DECISION_WORD), len(self._text)))


def draw_phases(variant: Variant, rng: np.random.Generator) -> tuple[Layout, Layout]:
    """Layouts before and after the change, with side, fruit and leaf order drawn from ``rng``."""
    x, y = TRANSITION_POINTS if variant is Variant.TRANSITION_DISRUPTION else STANDARD_POINTS
    apple_is_x, left_is_apple = rng.random(2) < 0.5
    apple, orange = (x, y) if apple_is_x else (y, x)
    points = (_shuffled(apple, rng), _shuffled(orange, rng))
    before = Layout((APPLE, ORANGE) if left_is_apple else (ORANGE, APPLE), points)
    if variant is Variant.REWARD_DISRUPTION:
        apple, orange = ((DISRUPTED_POINTS[left], DISRUPTED_POINTS[right]) for left, right in points)
        return before, Layout(before.fruit_of, (apple, orange))
    if variant is Variant.TRANSITION_DISRUPTION:
        return before, Layout((before.fruit_of[1], before.fruit_of[0]), points)
    return before, before


def _shuffled(pair: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    return pair if rng.random() < 0.5 else (pair[1], pair[0])
