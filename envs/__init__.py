"""Reinforcement-learning tasks told as text, the agents that play them, and the learning signals they define.

Usable alone: arrays and text in, arrays and text out. A task is one module and one line in ``TASKS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from envs import two_step
from envs.game import Game


@dataclass(frozen=True)
class Task:
    """How to make the rollouts of a task.

    Attributes:
        config: the frozen dataclass of the task's settings; its ``variant`` field names the version.
        variants: the values that ``variant`` takes.
        make: ``make(config, seed)`` gives one rollout.
        actions: short names of the actions, in their numbering.
        n_states: number of non-terminal states.
        decision_word: the word whose last token is recorded.
    """

    config: type[Any]
    variants: tuple[str, ...]
    make: Callable[[Any, int], Game]
    actions: tuple[str, ...]
    n_states: int
    decision_word: str


TASKS: dict[str, Task] = {
    "two_step": Task(
        config=two_step.TwoStepConfig,
        variants=tuple(two_step.Variant),
        make=two_step.TwoStep,
        actions=tuple(action.strip() for action in two_step.ACTIONS),
        n_states=two_step.N_STATES,
        decision_word=two_step.DECISION_WORD,
    ),
}
