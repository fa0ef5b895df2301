"""Searches in the record: a row for each, and what it found in every episode beside the best that there was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from envs.game import Step
from jobs.circuits.searchers import Found
from jobs.circuits.tables import Episode, record_variant
from jobs.context import Context
from jobs.recording import record_model, record_rollouts, rollout_of
from tdlens.record import CircuitSearch, SearchEpisode, SearchStep, insert_rows


@dataclass(frozen=True, eq=False)
class Searched:
    """A search of one task's evaluation episodes."""

    task: str
    code: str
    """The training task that the searcher was told, or none."""
    best_of: int
    episodes: Sequence[Episode]
    found: Sequence[Found]


def record_circuit_search(
    session: Session,
    job_id: int,
    context: Context,
    *,
    name: str,
    method: str,
    seed: int,
    best_of: int | None = None,
    transitions: int = 0,
    forward_passes: int = 0,
    parameters: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    """Insert a way to search, with what its training was and cost if it had one; gives its key."""
    row = CircuitSearch(
        job_id=job_id,
        model_id=record_model(session, context.study.model.name, context.model_source, context.network),
        n_heads=context.engine.n_heads,
        name=name,
        method=method,
        best_of=best_of,
        seed=seed,
        transitions=transitions,
        forward_passes=forward_passes,
        parameters=dict(parameters),
    )
    session.add(row)
    session.flush()
    return row.id


def record_found(
    session: Session, job_id: int, context: Context, search_id: int, name: str, searches: Sequence[Searched]
) -> None:
    """Insert what a search found; an episode is a rollout, whose policy says what the searcher was told.

    Args:
        session: of the transaction.
        job_id: the unit's job.
        context: of the study.
        search_id: the search's key.
        name: the search's name.
        searches: by task, code and heads a step.
    """
    model_id = record_model(session, context.study.model.name, context.model_source, context.network)
    for searched in searches:
        step_ids = record_rollouts(
            session,
            [_steps_of(found) for found in searched.found],
            [episode.seed for episode in searched.episodes],
            chosen=[found.probabilities for found in searched.found],
            job_id=job_id,
            task_id=record_variant(session, context, searched.task),
            model_id=model_id,
            policy=f"{name}, told {searched.code}, best of {searched.best_of}",
            intervention_id=None,
        )
        _record_episodes(session, search_id, searched, step_ids, context.engine.n_heads)


def _record_episodes(
    session: Session, search_id: int, searched: Searched, step_ids: NDArray[np.int64], heads: int
) -> None:
    episodes, steps = [], []
    for ids, episode, found in zip(step_ids, searched.episodes, searched.found, strict=True):
        best, oracle = divmod(found.best_head, heads), divmod(episode.scores.best, heads)
        episodes.append(
            {
                "rollout_id": rollout_of(int(ids[0])),
                "search_id": search_id,
                "task_code": searched.code,
                "best_of": searched.best_of,
                "best_score": found.best_score,
                "oracle": episode.scores.oracle,
                "forward_passes": found.forward_passes,
                "best_by_pass": [list(rise) for rise in found.rises],
                "best_block": best[0] + 1,
                "best_head": best[1],
                "oracle_block": oracle[0] + 1,
                "oracle_head": oracle[1],
            }
        )
        for key, passes, score in zip(ids, found.passes, found.best_scores, strict=True):
            steps.append({"step_id": int(key), "forward_passes": int(passes), "best_score": float(score)})
    insert_rows(session, SearchEpisode, episodes)
    insert_rows(session, SearchStep, steps)


def _steps_of(found: Found) -> list[Step]:
    """An episode as other tasks have them: its state is how many heads were tried, and the clock alone ends it."""
    return [
        Step(0, t, int(head), float(score), t + 1, done=False, forced=False)
        for t, (head, score) in enumerate(zip(found.heads, found.scores, strict=True))
    ]
