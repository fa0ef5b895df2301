"""The naive model and the trained ones play the same mazes, in which none was trained: what did they learn?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from envs.game import TERMINAL, Step
from envs.maze import NOWHERE, MazeConfig, Seed, Tile, numbered
from envs.maze_prompts import plain
from envs.transcript import Transcript
from jobs.context import Context
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.inference.play import Played
from jobs.maze_training.config import Layout, TrainingConfig
from jobs.maze_training.dialogue import Dialogue
from jobs.maze_training.policy import Policy
from jobs.maze_training.rollouts import Dealt, Rollouts, deal, play, retell
from jobs.recording import record_rollouts, record_task
from jobs.sections.welfare import NAIVE
from jobs.stage import Plan, Publish, Unit
from jobs.stages.games import sampled
from jobs.welfare.models import engine_of, model_id, section_of, training_config, training_units
from jobs.welfare.workplaces import leave
from tdlens.record import ModelMetric, insert_rows

NAME = "play_maze"
DESCRIPTION = "the naive model and the trained ones play mazes in which none was trained"

HELD_OUT = 2
"""Behind a rollout's seed: its maze; what is played in training has another number there, and so have plans."""
LUCK = 3
Floats = NDArray[np.float64]


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each kind of tiles, which the naive model plays, and one for each training, in its own tiles."""
    trained, seed = training_units(plan), context.study.seed
    trainings = {name: training_config(context, section_of(context, unit)) for name, unit in trained.items()}
    naive = {f"{NAIVE}/{training.maze.variant}": _config(context, training) for training in trainings.values()}
    for name, config in naive.items():
        yield Unit(NAME, name, config, seed=seed)
    for name, training in trainings.items():
        yield Unit(NAME, name, _config(context, training), (trained[name],), seed=seed)


def _config(context: Context, training: TrainingConfig) -> dict[str, Any]:
    return {
        **context.model_config,
        "task": {"name": context.study.task.name, **asdict(training.maze)},
        "rollouts": context.study.task.rollouts,
        "temperature": training.temperature,
        "layout": training.layout,
        "bf16": training.bf16,
    }


def run(context: Context, unit: Unit) -> Publish:
    training = unit.parents[0] if unit.parents else None
    if training:
        leave(context.record.settings, training.identity)  # it is done: the record has its models
    settings = {name: value for name, value in unit.config["task"].items() if name != "name"}
    maze, seeds = MazeConfig(**settings), context.rollout_seeds
    dealt = held_out(maze, seeds, unit.seed)
    policy = policy_of(context, training, maze, Layout(unit.config["layout"]), bf16=unit.config["bf16"])
    temperature, batch_size = unit.config["temperature"], context.study.model.batch_size
    with context.progress(f"maze, {unit.key}", len(seeds) * maze.turns) as advance:
        played = play(policy, maze, dealt, temperature, batch_size, advance)
    texts, cells = retell(maze, dealt, played.actions)
    metrics = [metric | {"name": f"{metric['name']}, {maze.variant}"} for metric in sampled(dict(measures(played)))]

    def publish(session: Session, job_id: int) -> None:
        model = model_id(session, context, training)
        record_rollouts(
            session,
            [_steps(*of_one) for of_one in zip(cells, played.actions, played.rewards, strict=True)],
            seeds,
            _as_played(played, texts),
            job_id=job_id,
            task_id=record_task(session, context.study.task.name, settings, context.task.actions),
            model_id=model,
            policy=f"T={temperature:g}",
        )
        insert_rows(session, ModelMetric, [{"job_id": job_id, "model_id": model, **metric} for metric in metrics])

    return publish


def held_out(maze: MazeConfig, seeds: Iterable[int], seed: int) -> Dealt:
    """One rollout of each of some mazes that occur in no training.

    Args:
        maze: the rules.
        seeds: of the rollouts.
        seed: of the luck, the same for all players.
    """
    own: list[Seed] = [numbered(one, HELD_OUT) for one in seeds]
    return deal(maze, own, 1, np.random.default_rng((seed, HELD_OUT, LUCK)))


def policy_of(context: Context, training: Unit | None, maze: MazeConfig, layout: Layout, *, bf16: bool) -> Policy:
    """The naive model (no training) or a trained one, ready to play."""
    engine = engine_of(context, training)
    assert isinstance(engine, HuggingFaceEngine)  # studies of the maze have no other
    return Policy(engine, Dialogue(engine.tokenizer, maze, layout), bf16)


def measures(played: Rollouts) -> Iterator[tuple[str, Floats]]:
    """What each rollout was like, by name [n]; NaN where it isn't defined.

    ``gold_taken`` is the share of moves onto Gold among those that had a choice of Gold and something else;
    ``mold_avoided`` that of moves onto something else, where there were Mold and something else.
    """
    yield "return", played.rewards.sum(1)
    yield "golds", played.gold.sum(1).astype(np.float64)
    yield "molds", played.mold.sum(1).astype(np.float64)
    yield "entropy", played.entropies.mean(1)
    onto = np.take_along_axis(played.seen, played.actions[..., None], -1)[..., 0]
    yield "gold_taken", _share(onto == Tile.GOLD, _choice(played, Tile.GOLD))
    yield "mold_avoided", _share(onto != Tile.MOLD, _choice(played, Tile.MOLD))


def _choice(played: Rollouts, tile: Tile) -> NDArray[np.bool_]:
    """Where there were this tile and another to choose from [n, turns]."""
    there, others = played.seen == tile, (played.seen != tile) & (played.seen != NOWHERE)
    choice: NDArray[np.bool_] = there.any(-1) & others.any(-1)
    return choice


def _share(chosen: NDArray[np.bool_], among: NDArray[np.bool_]) -> Floats:
    n = among.sum(1)
    return np.where(n > 0, (chosen & among).sum(1) / np.maximum(n, 1), np.nan)


def _steps(cells: NDArray[np.int64], actions: NDArray[np.int64], rewards: Floats) -> list[Step]:
    """A rollout as one episode; states are cells, y times the maze's size plus x."""
    following = [*cells[1:].tolist(), TERMINAL]
    return [
        Step(0, cell, action, reward, after, after == TERMINAL, False)
        for cell, action, reward, after in zip(
            cells.tolist(), actions.tolist(), rewards.tolist(), following, strict=True
        )
    ]


def _as_played(played: Rollouts, texts: list[list[str]]) -> Played:
    told = [Transcript(plain(text, moves), ()) for text, moves in zip(texts, played.actions.tolist(), strict=True)]
    return Played(played.actions, played.probabilities, played.positions, told)
