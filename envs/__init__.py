"""Reinforcement-learning tasks told as text, the agents that play them, and the learning signals they define.

Usable alone: arrays and text in, arrays and text out. A task is one module and one line in ``TASKS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs import (
    graph_walk,
    grid_world,
    head_ablation,
    maze,
    ms_pacman,
    rook_endgame,
    rook_games,
    rook_predicates,
    rook_values,
    two_step,
)
from envs.circuit_tasks import CIRCUIT_TASKS
from envs.extra import Extra
from envs.game import Game


@dataclass(frozen=True, eq=False)
class States:
    """All states of a task that has few enough of them to be listed.

    Attributes:
        placed: which of the numbers from 0 on stand for a state at all [n_states].
        occurring: which of them can occur in a game [n_states].
        observe: from states [n] to what a network sees of them [n, d], float32.
        predicates: properties by name, each [n_states].
        family: of a property: those that say the same of other places have one.
        best_values: Q-values of best play against a variant [n_states, actions], in the task's points.
        ceiling: the expected return of a game that no player exceeds, against a variant.
        play_out: what exactly comes of taking given actions [n_states], against a variant.
    """

    placed: NDArray[np.bool_]
    occurring: NDArray[np.bool_]
    observe: Callable[[Any], NDArray[np.float32]]
    predicates: Callable[[], Mapping[str, NDArray[np.bool_]]]
    family: Callable[[str], str]
    best_values: Callable[[str], NDArray[np.float64]]
    ceiling: Callable[[str], float]
    play_out: Callable[[NDArray[np.int64], str], rook_values.Exact]


@dataclass(frozen=True, eq=False)
class Seen:
    """A task that networks see as numbers: its games have an ``observation``.

    Attributes:
        whole_game: ``whole_game(config, seed)`` gives one game from its start to its end.
        states: all of its states, if they can be listed.
        extra: the package that its games need beside tdlens's own, if any.
    """

    whole_game: Callable[[Any, int], Game]
    states: States | None = None
    extra: Extra | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """How to make the rollouts of a task.

    Attributes:
        config: the frozen dataclass of the task's settings; its ``variant`` field names the version.
        variants: the values that ``variant`` takes.
        make: ``make(config, seed)`` gives one rollout; None where rollouts are a model's (``heads``, ``trained``).
        actions: short names of the actions, in their numbering.
        n_states: number of states.
        decision_word: the word whose last token is recorded.
        agents: names of the signal sources that apply.
        teacher_forced: the task tells what another did, and the model only predicts it.
        links: which actions are possible in each state [n_states, n_actions], where not all of them are.
        words: what the task names things by, where every rollout draws its own; the model must know them as single
            tokens, and its choice of them is the setting ``words``.
        seen: what there is for networks that see the task as numbers; None where it is told as text, and a language
            model plays or reads.
        heads: the actions are a language model's own attention heads, each of which may be ablated once
            (:mod:`envs.head_ablation`): there is neither a text nor a state, and how many actions there are is the
            model's affair.
        trained: the language model is trained in the task by the study itself, which asks what that left in it
            (:mod:`envs.maze`); it isn't played as it is.
    """

    config: type[Any]
    variants: tuple[str, ...]
    make: Callable[[Any, int], Game] | None
    actions: tuple[str, ...]
    n_states: int
    decision_word: str
    agents: tuple[str, ...]
    teacher_forced: bool = False
    links: NDArray[np.bool_] | None = None
    words: tuple[str, ...] = ()
    seen: Seen | None = None
    heads: bool = False
    trained: bool = False

    def rollout(self, config: Any, seed: int) -> Game:
        """One rollout; ValueError where that needs a model."""
        if self.make is None:
            raise ValueError(
                "rollouts of this task are made with a model: see envs.head_ablation and envs.maze_rollouts"
            )
        return self.make(config, seed)


TASKS: dict[str, Task] = {
    "two_step": Task(
        config=two_step.TwoStepConfig,
        variants=tuple(two_step.Variant),
        make=two_step.TwoStep,
        actions=tuple(action.strip() for action in two_step.ACTIONS),
        n_states=two_step.N_STATES,
        decision_word=two_step.DECISION_WORD,
        agents=("q_learning", "myopic", "repetition", "best_episode", "context"),
    ),
    "grid_world": Task(
        config=grid_world.GridWorldConfig,
        variants=tuple(grid_world.Variant),
        make=grid_world.GridWorld,
        actions=tuple(action.strip() for action in grid_world.ACTIONS),
        n_states=grid_world.GridWorldConfig().n_states,
        decision_word=grid_world.DECISION_WORD,
        agents=(
            *("q_learning", "generator", "fitted_learner", "myopic", "best_episode", "random_rewards"),
            *("place", "context"),
        ),
        teacher_forced=True,
    ),
    "graph_walk": Task(
        config=graph_walk.GraphWalkConfig,
        variants=tuple(graph_walk.Variant),
        make=graph_walk.GraphWalk,
        actions=tuple(str(node) for node in range(graph_walk.N_NODES)),
        n_states=graph_walk.N_NODES,
        decision_word=graph_walk.DECISION_WORD,
        agents=("successor", "transition_model", "neighbour_mixing", "clock"),
        teacher_forced=True,
        links=graph_walk.ADJACENCY,
        words=graph_walk.WORDS,
    ),
    "rook_endgame": Task(
        config=rook_games.RookEndgameConfig,
        variants=tuple(rook_endgame.Variant),
        make=rook_games.RookGames,
        actions=rook_endgame.ACTIONS,
        n_states=rook_endgame.N_STATES,
        decision_word=rook_games.DECISION_WORD,
        agents=("q_network", "optimal", "clock", "place"),
        seen=Seen(
            whole_game=rook_games.whole_game,
            states=States(
                placed=rook_endgame.LEGAL,
                occurring=rook_endgame.STARTS,
                observe=rook_endgame.observations,
                predicates=rook_predicates.predicates,
                family=rook_predicates.family,
                best_values=rook_values.best_values,
                ceiling=rook_values.ceiling,
                play_out=rook_values.play_out,
            ),
        ),
    ),
    "ms_pacman": Task(
        config=ms_pacman.MsPacmanConfig,
        variants=tuple(ms_pacman.Variant),
        make=ms_pacman.MsPacmanGames,
        actions=ms_pacman.ACTIONS,
        n_states=ms_pacman.N_STATES,
        decision_word=ms_pacman.DECISION_WORD,
        agents=("q_network", "clock", "place"),
        seen=Seen(whole_game=ms_pacman.whole_game, extra=ms_pacman.EMULATOR),
    ),
    "head_ablation": Task(
        config=head_ablation.HeadAblationConfig,
        variants=tuple(CIRCUIT_TASKS),
        make=None,
        actions=(),
        n_states=0,
        decision_word="",
        agents=(),
        heads=True,
    ),
    "maze": Task(
        config=maze.MazeConfig,
        variants=tuple(maze.Variant),
        make=None,
        actions=tuple(direction[0].upper() for direction in maze.DIRECTIONS),
        n_states=0,
        decision_word="",
        agents=(),
        trained=True,
    ),
}
