"""Writing play into the record: rollouts, episodes, steps, learning signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session
from tdlens.blobs import StoredBlob
from tdlens.identity import digest
from tdlens.record import (
    Artifact,
    Blob,
    Episode,
    LearningSignal,
    Model,
    Rollout,
    Signal,
    Step,
    find_or_create,
    insert_columns,
    insert_rows,
    new_ids,
)
from tdlens.record import Task as TaskRow

from envs.agents import Transitions
from envs.agents.agent import SignalSource
from envs.game import Game
from jobs.inference.base import Engine
from jobs.inference.play import Played

INDEX_BITS = 16
"""A step's (and an episode's) key is its rollout's key shifted by these bits, plus its index in the rollout."""


def record_blob(session: Session, blob: StoredBlob) -> str:
    """The blob's row; gives its key."""
    return find_or_create(session, Blob, {"sha256": blob.sha256}, suffix=blob.suffix, bytes=blob.bytes).sha256


def record_artifact(session: Session, job_id: int, name: str, blob: StoredBlob) -> None:
    """Name a blob as one of a job's outputs."""
    session.add(Artifact(job_id=job_id, name=name, blob=record_blob(session, blob)))


def record_model(session: Session, name: str, source: str, engine: Engine) -> int:
    """The model's row."""
    about = asdict(engine.describe())
    key = {"name": name, "fingerprint": about.pop("fingerprint"), "dtype": about.pop("dtype")}
    return find_or_create(session, Model, key, source=source, **about).id


def record_task(session: Session, name: str, config: Mapping[str, Any], actions: Sequence[str]) -> int:
    """The task's row; ``config`` holds the variant."""
    key = {"name": name, "variant": config["variant"], "config_hash": digest(config)}
    return find_or_create(session, TaskRow, key, config=dict(config), actions=list(actions)).id


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
    rollout_ids = new_ids(session, Rollout, len(games))
    insert_rows(session, Rollout, [{"id": key, **row} for key, row in zip(rollout_ids, rows, strict=True)])
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
            {
                "id": first + e,
                "rollout_id": rollout_id,
                "index": e,
                "return_": returns[e],
                "forced": forced[e],
            }
            for e in returns
        ]
    insert_rows(session, Episode, episodes)
    insert_rows(session, Step, steps)
    keys = np.array(rollout_ids, dtype=np.int64)[:, None] << INDEX_BITS
    return np.asarray(keys + np.arange(played.actions.shape[1]))


@dataclass(frozen=True, eq=False)
class Replayed:
    """What one source computed on R rollouts of T decisions."""

    source: SignalSource
    values: dict[str, NDArray[np.float64]]
    """Each signal, [R, T]."""


def replay_sources(
    rollouts: Sequence[Transitions], sources: Sequence[SignalSource], names: Sequence[str] | None = None
) -> list[Replayed]:
    """Let every source replay every rollout; keep the signals in ``names``, or all."""
    replayed = []
    for source in sources:
        kept = [name for name in source.describe() if names is None or name in names]
        outputs = [source.replay(transitions) for transitions in rollouts]
        replayed.append(Replayed(source, {name: np.stack([out[name] for out in outputs]) for name in kept}))
    return replayed


def record_signals(
    session: Session, job_id: int, step_ids: NDArray[np.int64], replayed: Sequence[Replayed]
) -> None:
    """Insert signals at the given steps, [R, T]."""
    for one in replayed:
        infos = one.source.describe()
        for name, values in one.values.items():
            parameters = dict(infos[name].parameters)
            signal = find_or_create(
                session,
                Signal,
                {"name": name, "parameters_hash": digest(parameters)},
                agent=one.source.name,
                parameters=parameters,
                description=infos[name].description,
            )
            insert_columns(
                session,
                LearningSignal,
                {
                    "job_id": job_id,
                    "signal_id": signal.id,
                    "step_id": step_ids.ravel(),
                    "value": values.ravel(),
                },
            )
