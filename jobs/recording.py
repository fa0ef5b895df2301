"""Writing play into the record: rollouts, episodes, steps, learning signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from envs.agents import Transitions
from envs.agents.agent import SignalSource
from envs.game import Game
from jobs.inference import Engine, Played
from tdlens.identity import digest
from tdlens.record import Base, Episode, LearningSignal, Model, Rollout, Signal, Step, insert_rows
from tdlens.record import Task as TaskRow

INDEX_BITS = 16
"""A step's (and an episode's) key is its rollout's key shifted by these bits, plus its index in the rollout."""


def get_or_create(session: Session, table: type[Base], unique: Mapping[str, Any], **others: Any) -> int:
    """Key of the row with these unique values, inserted if there is none."""
    found = session.scalar(select(table.id).filter_by(**unique))  # type: ignore[attr-defined]
    if found is None:
        row = table(**unique, **others)
        session.add(row)
        session.flush()
        found = row.id  # type: ignore[attr-defined]
    return int(found)


def record_model(session: Session, name: str, source: str, engine: Engine) -> int:
    """The model's row."""
    about = engine.describe()
    unique = {"name": name, "fingerprint": about.fingerprint, "dtype": about.dtype}
    return get_or_create(
        session,
        Model,
        unique,
        source=source,
        architecture=about.architecture,
        n_blocks=about.n_blocks,
        d_model=about.d_model,
        n_parameters=about.n_parameters,
    )


def record_task(session: Session, name: str, config: Mapping[str, Any], actions: Sequence[str]) -> int:
    """The task's row; ``config`` holds the variant."""
    unique = {"name": name, "variant": config["variant"], "config_hash": digest(config)}
    return get_or_create(session, TaskRow, unique, config=dict(config), actions=list(actions))


def record_rollouts(
    session: Session,
    games: Sequence[Game],
    played: Played,
    seeds: Sequence[int],
    **common: Any,
) -> NDArray[np.int64]:
    """Insert finished games and return the keys of their steps, [R, T].

    Args:
        common: the columns that all rollouts share: job_id, task_id, model_id, policy, intervention_id.
    """
    rows = [
        {
            **common,
            "seed": seed,
            "index": index,
            "n_steps": len(game.steps),
            "transcript": played.transcripts[index].text,
        }
        for index, (game, seed) in enumerate(zip(games, seeds, strict=True))
    ]
    rollout_ids = session.scalars(insert(Rollout).returning(Rollout.id, sort_by_parameter_order=True), rows).all()
    episodes, steps = [], []
    for game, rollout_id, row in zip(games, rollout_ids, range(len(games)), strict=True):
        returns: dict[int, float] = {}
        forced: dict[int, bool] = {}
        first = rollout_id << INDEX_BITS
        for index, step in enumerate(game.steps):
            returns[step.episode] = returns.get(step.episode, 0.0) + step.reward
            forced[step.episode] = forced.get(step.episode, True) and step.forced
            probabilities = played.probabilities[row, index]
            steps.append(
                {
                    "id": first + index,
                    "episode_id": first + step.episode,
                    "rollout_id": rollout_id,
                    "index": index,
                    **{k: v for k, v in step._asdict().items() if k != "episode"},
                    "p_chosen": float(probabilities[step.action]),
                    "action_probabilities": probabilities.tolist(),
                    "token_position": int(played.token_positions[row, index]),
                }
            )
        episodes += [
            {"id": first + e, "rollout_id": rollout_id, "index": e, "return_": returns[e], "forced": forced[e]}
            for e in returns
        ]
    insert_rows(session, Episode, episodes)
    insert_rows(session, Step, steps)
    keys = np.array(rollout_ids, dtype=np.int64)[:, None] << INDEX_BITS
    return np.asarray(keys + np.arange(played.actions.shape[1]))


def record_signals(
    session: Session,
    job_id: int,
    rollouts: Sequence[Transitions],
    step_ids: NDArray[np.int64],
    sources: Sequence[SignalSource],
    names: Sequence[str] | None = None,
) -> None:
    """Let every source replay every rollout and insert the signals (those in ``names``, or all)."""
    for source in sources:
        infos = {name: info for name, info in source.describe().items() if names is None or name in names}
        if not infos:
            continue
        signal_ids = {
            name: get_or_create(
                session,
                Signal,
                {"name": name, "parameters_hash": digest(dict(info.parameters))},
                agent=source.name,
                parameters=dict(info.parameters),
                description=info.description,
            )
            for name, info in infos.items()
        }
        rows = []
        for transitions, steps in zip(rollouts, step_ids.tolist(), strict=True):
            values = source.replay(transitions)
            for name, signal_id in signal_ids.items():
                rows += [
                    {"job_id": job_id, "signal_id": signal_id, "step_id": step, "value": value}
                    for step, value in zip(steps, values[name].tolist(), strict=True)
                ]
        insert_rows(session, LearningSignal, rows)
