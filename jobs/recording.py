"""Writing play into the record: rollouts, episodes, steps, learning signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from envs.agents import Transitions
from envs.agents.agent import Described, SignalSource
from envs.game import Step as GameStep
from jobs.inference.base import ModelDescription, Network
from jobs.inference.play import Played
from tdlens.identity import digest
from tdlens.record import (
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

INDEX_BITS = 16
"""A step's (and an episode's) key is its rollout's key shifted by these bits, plus its index in the rollout."""


def record_model(session: Session, name: str, source: str, network: Network | ModelDescription) -> int:
    """The model's row; of one that isn't loaded, from its description."""
    about = asdict(network if isinstance(network, ModelDescription) else network.describe())
    key = {"name": name, "fingerprint": about.pop("fingerprint"), "dtype": about.pop("dtype")}
    return find_or_create(session, Model, key, source=source, **about).id


def record_task(session: Session, name: str, config: Mapping[str, Any], actions: Sequence[str]) -> int:
    """The task's row; ``config`` holds the variant."""
    key = {"name": name, "variant": config["variant"], "config_hash": digest(config)}
    return find_or_create(session, TaskRow, key, config=dict(config), actions=list(actions)).id


def record_rollouts(
    session: Session,
    histories: Sequence[Sequence[GameStep]],
    seeds: Sequence[int],
    played: Played | None = None,
    *,
    chosen: Sequence[NDArray[np.float64] | None] = (),
    texts: Sequence[str] = (),
    outcomes: Sequence[Sequence[str]] = (),
    first: int = 0,
    **common: Any,
) -> NDArray[np.int64]:
    """Insert rollouts of T steps each and return the keys of their steps, [R, T].

    Args:
        histories: the steps of each rollout.
        seeds: the seed of each.
        played: how a language model came to them; None for rollouts that none of ours played.
        chosen: how likely each action of each rollout was [T], where somebody else who drew them can say so.
        texts: the text of each rollout, where it isn't part of what was played.
        outcomes: how each rollout's finished episodes ended, if their task gives that a name.
        first: the index of the first of them.
        common: the columns that all rollouts share: job_id, task_id, model_id, policy, intervention_id.
    """
    rollout_ids = new_ids(session, Rollout, len(histories))
    if max(map(len, histories)) >= 1 << INDEX_BITS:
        raise ValueError(f"a rollout of more than {(1 << INDEX_BITS) - 1} decisions has no room for its steps' keys")
    if played is not None:
        texts = [transcript.text for transcript in played.transcripts]
    for index, (rollout_id, history, seed) in enumerate(zip(rollout_ids, histories, seeds, strict=True)):
        rollout = {
            "index": first + index,
            "id": rollout_id,
            "seed": seed,
            "n_steps": len(history),
            "transcript": texts[index] if texts else "",
        }
        # one rollout at a time: the rows of all would take more memory than what was played
        insert_rows(session, Rollout, [rollout | common])
        insert_rows(session, Episode, _episodes(rollout_id, history, outcomes[index] if outcomes else None))
        drawn = chosen[index] if chosen else None
        insert_rows(session, Step, _steps(rollout_id, history, played, index, drawn))
    keys = np.array(rollout_ids, dtype=np.int64)[:, None] << INDEX_BITS
    return np.asarray(keys + np.arange(len(histories[0])))


def rollout_of(step_id: int) -> int:
    """The key of a step's rollout."""
    return step_id >> INDEX_BITS


def _episodes(rollout_id: int, history: Sequence[GameStep], outcomes: Sequence[str] | None) -> list[dict[str, Any]]:
    """Rows of a rollout's episodes."""
    returns: dict[int, float] = {}
    forced: dict[int, bool] = {}
    for step in history:
        returns[step.episode] = returns.get(step.episode, 0.0) + step.reward
        forced[step.episode] = forced.get(step.episode, True) and step.forced
    return [
        {
            "id": (rollout_id << INDEX_BITS) + e,
            "rollout_id": rollout_id,
            "index": e,
            "return_": returns[e],
            "forced": forced[e],
            **({} if outcomes is None else {"outcome": _outcome(outcomes, e)}),
        }
        for e in returns
    ]


def _steps(
    rollout_id: int,
    history: Sequence[GameStep],
    played: Played | None,
    rollout: int,
    drawn: NDArray[np.float64] | None,
) -> list[dict[str, Any]]:
    """Rows of a rollout's steps; ``rollout`` is its place in what was played."""
    base, rows = rollout_id << INDEX_BITS, []
    for t, step in enumerate(history):
        columns = step._asdict()
        episode_id = base + columns.pop("episode")
        rows.append(
            {"id": base + t, "episode_id": episode_id, "rollout_id": rollout_id, "index": t}
            | columns
            | _policy_columns(played, rollout, t, step.action)
            | ({} if drawn is None else {"p_chosen": float(drawn[t])})
        )
    return rows


def _outcome(ended: Sequence[str], episode: int) -> str | None:
    return ended[episode] if episode < len(ended) else None


def _policy_columns(played: Played | None, rollout: int, t: int, action: int) -> dict[str, Any]:
    if played is None:
        return {}
    probabilities = played.probabilities[rollout, t].tolist()
    return {
        "p_chosen": probabilities[action],
        "action_probabilities": probabilities,
        "token_position": int(played.token_positions[rollout, t]),
    }


@dataclass(frozen=True, eq=False)
class Replayed:
    """What one source computed on R rollouts of T decisions."""

    source: Described
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


def record_signals(session: Session, job_id: int, step_ids: NDArray[np.int64], replayed: Sequence[Replayed]) -> None:
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
