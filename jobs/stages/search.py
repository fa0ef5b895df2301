"""Policies are trained to find the heads that a task needs; they and their baselines search the same episodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from envs.head_ablation import Deal, TableScores
from jobs.circuits.baselines import baselines
from jobs.circuits.baselines.known import Known
from jobs.circuits.episodes import common_config, episodes_of
from jobs.circuits.policy import PolicySearcher
from jobs.circuits.ppo import Point, train_policy
from jobs.circuits.search_config import SearchConfig
from jobs.circuits.search_rows import Searched, record_search
from jobs.circuits.searchers import Searcher, search
from jobs.circuits.tables import Episode, read_episodes, record_variant
from jobs.context import Context
from jobs.stage import Plan, Publish, Unit
from jobs.stages.ablate import EVALUATION, TRAINING
from tdlens.errors import UserError
from tdlens.record import SearchProgress, insert_rows, record_artifact

NAME = "search"
DESCRIPTION = "policies learn to find the heads that a task needs; baselines search the same episodes"

POLICY = "policy"
"""Name of the artifact that holds a policy's weights."""
AN_UPDATE = 400
"""Transitions of the paper's updates: 8 episodes of 50 steps."""
MOST_EPISODES = 99
"""Side by side: their seeds are those of one training alone."""
TOLD_NOTHING = "none"
BY_CHANCE = ("random", "layer_prior", "ucb")
"""Baselines that draw, and so are repeated."""
TOLD = ("layer_prior", "training_mean")
"""Baselines that go by what the training tasks taught, and so by which of them they are told to be in."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each training, and one for the baselines of each repetition."""
    section, own = context.study.search, episodes_of(context).config.ablation
    ablated = plan.of("ablate")
    evaluated = tuple(u for u in ablated if u.config["split"] == EVALUATION and u.config["task"]["ablation"] == own)
    trained = tuple(unit for unit in ablated if unit.config["split"] == TRAINING)
    means = tuple(u for u in ablated if u.config["task"]["ablation"] == "mean" and u not in evaluated)
    common = {**common_config(context), "steps": _steps(context), "tasks": list(section.tasks)}
    for best_of in section.best_of:
        for index in range(section.seeds):
            training = _training(context, best_of, index)
            config = {
                **common,
                "training": asdict(training),
                "pool": section.pool,
                "evaluated_best_of": list(section.evaluated_best_of),
            }
            parents = (*evaluated, *(trained if section.pool else ()))
            yield Unit(NAME, f"ppo_k{best_of}/{index}", config, parents, seed=training.seed)
    for index in range(section.seeds):
        yield Unit(NAME, f"baselines/{index}", common, (*evaluated, *trained, *means), seed=index)


def _steps(context: Context) -> int:
    return episodes_of(context).config.steps_with(context.engine.n_blocks * context.engine.n_heads)


def _training(context: Context, best_of: int, index: int) -> SearchConfig:
    """The paper's training, whose one seed is 1. Where episodes are shorter, more of them make an update as large.

    Raises:
        UserError: fewer transitions than one update takes.
    """
    section, steps = context.study.search, _steps(context)
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
    return (_policy if "training" in unit.config else _baselines)(context, unit)


def _policy(context: Context, unit: Unit) -> Publish:
    """Train a policy and let it search, told each training task in turn, or none."""
    training, tasks, steps = SearchConfig(**unit.config["training"]), unit.config["tasks"], unit.config["steps"]
    evaluated = _by_task(read_episodes(context, (u for u in unit.parents if u.config["split"] == EVALUATION)))
    n_blocks, heads = context.engine.n_blocks, context.engine.n_heads
    deal, pool = _deal(context, unit)
    done = 0
    with context.progress(f"train {unit.key}", training.transitions) as advance:

        def on_progress(point: Point) -> None:
            nonlocal done
            advance(point.transitions - done)
            done = point.transitions

        trained = train_policy(
            training,
            deal,
            n_blocks,
            heads,
            steps,
            tasks,
            pool,
            {task: [episode.scores for episode in episodes] for task, episodes in evaluated.items()},
            on_progress,
        )
    searches = []
    for code in (TOLD_NOTHING, *tasks):
        for k in unit.config["evaluated_best_of"]:
            searcher = PolicySearcher(trained.policy, tuple(float(code == task) for task in tasks), k)
            searches += [_searched(searcher, unit, code, k, episodes) for episodes in evaluated.values()]
    blob = context.record.blobs.put_bytes(trained.policy.to_bytes(), "safetensors")

    def publish(session: Session, job_id: int) -> None:
        about = {
            "name": unit.key,
            "method": "ppo",
            "best_of": training.best_of,
            "seed": training.seed,
            "transitions": trained.transitions,
            "forward_passes": trained.forward_passes,
            "parameters": unit.config["training"],
        }
        search_id = record_search(session, job_id, context, about, searches)
        record_artifact(session, job_id, POLICY, blob)
        points = {point.transitions: point for point in trained.curve}.values()
        rows = [
            {
                "search_id": search_id,
                "transitions": point.transitions,
                "task_id": record_variant(session, context, task),
                "best_score": score,
                "n_episodes": len(evaluated[task]),
            }
            for point in points
            for task, score in point.best_scores.items()
        ]
        insert_rows(session, SearchProgress, rows)

    return publish


def _deal(context: Context, unit: Unit) -> tuple[Deal, Mapping[str, Sequence[int]] | None]:
    """What ablations do in a training episode, and which episodes there are: none in a table if each is a fresh one."""
    if not unit.config["pool"]:
        return episodes_of(context).scorer, None
    episodes = _by_task(read_episodes(context, (u for u in unit.parents if u.config["split"] == TRAINING)))
    tables: dict[tuple[str, int], TableScores] = {(e.task, e.seed): e.scores for one in episodes.values() for e in one}
    return lambda task, seed: tables[task, seed], {task: [e.seed for e in one] for task, one in episodes.items()}


def _baselines(context: Context, unit: Unit) -> Publish:
    """Search without having learned."""
    units_of = {
        (split, mean): [u for u in unit.parents if (u.config["split"], _is_mean(u, context)) == (split, mean)]
        for split in (TRAINING, EVALUATION)
        for mean in (False, True)
    }
    evaluated = _by_task(read_episodes(context, units_of[EVALUATION, False]))
    training = _by_task(read_episodes(context, units_of[TRAINING, False]))
    means = _by_task(read_episodes(context, units_of[EVALUATION, True]))
    searches: dict[str, list[Searched]] = {}
    for task, episodes in evaluated.items():
        for code in (TOLD_NOTHING, *unit.config["tasks"]):
            known = Known(
                context.engine.n_blocks,
                context.engine.n_heads,
                {name: np.stack([e.scores.scores for e in one]) for name, one in training.items()},
                np.stack([e.scores.scores for e in episodes]),
                None if code == TOLD_NOTHING else code,
                np.stack([e.attribution for e in episodes if e.attribution is not None]),
                np.stack([e.scores.scores for e in means[task]]) if task in means else None,
            )
            for name, searcher in baselines(known).items():
                if (unit.seed == 0 or name in BY_CHANCE) and (code == TOLD_NOTHING or name in TOLD):
                    searches.setdefault(name, []).append(_searched(searcher, unit, code, 1, episodes))

    def publish(session: Session, job_id: int) -> None:
        for name, several in searches.items():
            about: dict[str, Any] = {
                "name": f"{name}/{unit.seed}",
                "method": name,
                "best_of": None,
                "seed": unit.seed,
                "transitions": 0,
                "forward_passes": 0,
                "parameters": {},
            }
            record_search(session, job_id, context, about, several)

    return publish


def _is_mean(unit: Unit, context: Context) -> bool:
    own = episodes_of(context).config.ablation
    return own != "mean" and unit.config["task"]["ablation"] == "mean"


def _by_task(episodes: Iterable[Episode]) -> dict[str, list[Episode]]:
    found: dict[str, list[Episode]] = {}
    for episode in episodes:
        found.setdefault(episode.task, []).append(episode)
    return found


def _searched(searcher: Searcher, unit: Unit, code: str, best_of: int, episodes: Sequence[Episode]) -> Searched:
    # the same luck in an episode for every searcher of one repetition
    luck = [(int(unit.key.rpartition("/")[2]), episode.seed) for episode in episodes]
    found = search(searcher, [episode.scores for episode in episodes], unit.config["steps"], luck)
    return Searched(episodes[0].task, code, best_of, episodes, found)
