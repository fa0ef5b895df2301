"""Policies learn to find the heads that a task needs: MaskablePPO on the study's training tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from sqlalchemy.orm import Session

from envs.head_ablation import Deal, TableScores
from jobs.circuits.episodes import common_config, episodes_of
from jobs.circuits.ppo import Point, train_policy
from jobs.circuits.search_config import SearchConfig
from jobs.circuits.search_rows import record_circuit_search
from jobs.circuits.tables import by_task, read_episodes, record_variant
from jobs.context import Context
from jobs.stage import Plan, Publish, Unit
from jobs.stages.ablate import EVALUATION, TRAINING, of_study
from tdlens.errors import UserError
from tdlens.record import SearchProgress, insert_rows, record_artifact

NAME = "train_policy"
DESCRIPTION = "policies learn to find the heads that a task needs"

POLICY = "policy"
"""Name of the artifact that holds a policy's weights."""
AN_UPDATE = 400
"""Transitions of the paper's updates: 8 episodes of 50 steps."""
MOST_EPISODES = 99
"""Side by side: their seeds are those of one training alone."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each training. Its curve is of the first few evaluation episodes of each task it trains on."""
    section = context.study.search
    evaluated = [
        unit for unit in of_study(context, plan, EVALUATION) if unit.config["task"]["variant"] in section.tasks
    ]
    first = tuple(unit for unit in evaluated if unit.key.endswith("/000"))
    trained = of_study(context, plan, TRAINING) if section.pool else ()
    for best_of in section.best_of:
        for index in range(section.seeds):
            training = _training(context, best_of, index)
            config = {
                **common_config(context),
                "training": asdict(training),
                "tasks": list(section.tasks),
                "steps": steps_of(context),
                "pool": section.pool,
            }
            yield Unit(NAME, f"ppo_k{best_of}/{index}", config, (*first, *trained), seed=training.seed)


def steps_of(context: Context) -> int:
    """Heads tried in an episode of the study."""
    return episodes_of(context).config.steps_with(context.engine.n_blocks * context.engine.n_heads)


def _training(context: Context, best_of: int, index: int) -> SearchConfig:
    """The paper's training, whose one seed is 1. Where episodes are shorter, more of them make an update as large.

    Raises:
        UserError: fewer transitions than one update takes.
    """
    section, steps = context.study.search, steps_of(context)
    config = SearchConfig(
        best_of=best_of,
        transitions=section.transitions,
        episodes=min(max(SearchConfig.episodes, round(AN_UPDATE / steps)), MOST_EPISODES),
        seed=context.study.seed * 1000 + index + 1,
    )
    if config.transitions < (least := config.episodes * steps):
        raise UserError(
            f"search.transitions is {config.transitions}, and one update of a policy takes {least}.",
            f"Set it to {least} or more.",
        )
    return config


def run(context: Context, unit: Unit) -> Publish:
    training, config = SearchConfig(**unit.config["training"]), unit.config
    watched = by_task(read_episodes(context, (u for u in unit.parents if u.config["split"] == EVALUATION)))
    deal, pool = deal_of(context, unit)
    done = 0
    with context.progress(f"train {unit.key}", training.transitions) as advance:

        def on_progress(point: Point) -> None:
            nonlocal done
            advance(point.transitions - done)
            done = point.transitions

        trained = train_policy(
            training,
            deal,
            context.engine.n_blocks,
            context.engine.n_heads,
            config["steps"],
            config["tasks"],
            pool,
            {task: [episode.scores for episode in episodes] for task, episodes in watched.items()},
            on_progress,
        )
    blob = context.record.blobs.put_bytes(trained.policy.to_bytes(), "safetensors")

    def publish(session: Session, job_id: int) -> None:
        search_id = record_circuit_search(
            session,
            job_id,
            context,
            name=unit.key,
            method="ppo",
            seed=training.seed,
            best_of=training.best_of,
            transitions=trained.transitions,
            forward_passes=trained.forward_passes,
            parameters=dict(config["training"]),
        )
        record_artifact(session, job_id, POLICY, blob)
        points = {point.transitions: point for point in trained.curve}.values()
        rows = [
            {
                "search_id": search_id,
                "transitions": point.transitions,
                "task_id": record_variant(session, context, task),
                "best_score": score,
                "n_episodes": len(watched[task]),
            }
            for point in points
            for task, score in point.best_scores.items()
        ]
        insert_rows(session, SearchProgress, rows)

    return publish


def deal_of(context: Context, unit: Unit) -> tuple[Deal, Mapping[str, Sequence[int]] | None]:
    """What ablations do in a training episode, and which episodes there are: none in a table if each is a fresh one."""
    if not unit.config["pool"]:
        return episodes_of(context).scorer, None
    episodes = by_task(read_episodes(context, (u for u in unit.parents if u.config["split"] == TRAINING)))
    tables: dict[tuple[str, int], TableScores] = {(e.task, e.seed): e.scores for one in episodes.values() for e in one}
    return lambda task, seed: tables[task, seed], {task: [e.seed for e in one] for task, one in episodes.items()}
