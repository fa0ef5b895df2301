"""Policies and their baselines search the same episodes, with the same luck."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.circuits.baselines import baselines
from jobs.circuits.baselines.known import Known
from jobs.circuits.episodes import common_config
from jobs.circuits.policy import HeadPolicy, PolicySearcher
from jobs.circuits.search_rows import Searched, record_circuit_search, record_found
from jobs.circuits.searchers import Searcher, search
from jobs.circuits.tables import Episode, by_task, read_episodes
from jobs.context import Context
from jobs.stage import Plan, Publish, Unit
from jobs.stages.ablate import EVALUATION, TRAINING, of_study
from jobs.stages.train_policy import POLICY, steps_of
from tdlens.record import Artifact, CircuitSearch

NAME = "search"
DESCRIPTION = "policies and baselines search the same episodes, with the same luck"

TOLD_NOTHING = "none"
BY_CHANCE = ("random", "layer_prior", "ucb")
"""Baselines that draw, and so are repeated."""
TOLD = ("layer_prior", "training_mean")
"""Baselines that go by what the training tasks taught, and so by which of them they are told to be in."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each policy, and one for the baselines of each repetition."""
    section = context.study.search
    evaluated, trained = of_study(context, plan, EVALUATION), of_study(context, plan, TRAINING)
    common = {**common_config(context), "steps": steps_of(context), "tasks": list(section.tasks)}
    for policy in plan.of("train_policy"):
        config = {**common, "best_of": list(section.evaluated_best_of)}
        yield Unit(NAME, policy.key, config, (policy, *evaluated))
    means = of_study(context, plan, EVALUATION, "mean")
    for index in range(section.seeds):
        yield Unit(
            NAME, f"baselines/{index}", common, (*evaluated, *trained, *(m for m in means if m not in evaluated))
        )


def run(context: Context, unit: Unit) -> Publish:
    return (_policy if unit.parents_of("train_policy") else _baselines)(context, unit)


def _policy(context: Context, unit: Unit) -> Publish:
    """A policy searches, told each training task in turn, or none."""
    (training,) = unit.parents_of("train_policy")
    evaluated, tasks = by_task(read_episodes(context, unit.parents_of("ablate"))), unit.config["tasks"]
    job = context.job_id(training)
    with context.record.session(read_only=True) as session:
        blob = session.scalars(select(Artifact.blob).where(Artifact.job_id == job, Artifact.name == POLICY)).one()
    policy = HeadPolicy.from_bytes(context.record.blobs.verified(blob, "safetensors").read_bytes())
    searches = []
    for code in (TOLD_NOTHING, *tasks):
        for k in unit.config["best_of"]:
            searcher = PolicySearcher(policy, tuple(float(code == task) for task in tasks), k)
            searches += [_searched(searcher, unit, code, k, episodes) for episodes in evaluated.values()]

    def publish(session: Session, job_id: int) -> None:
        search_id = session.scalars(select(CircuitSearch.id).where(CircuitSearch.job_id == job)).one()
        record_found(session, job_id, context, search_id, unit.key, searches)

    return publish


def _baselines(context: Context, unit: Unit) -> Publish:
    """Search without having learned."""
    own = unit.parents[0].config["task"]["ablation"]

    def episodes_with(split: str, ablation: str) -> dict[str, list[Episode]]:
        wanted = (split, ablation)
        units = [u for u in unit.parents if (u.config["split"], u.config["task"]["ablation"]) == wanted]
        return by_task(read_episodes(context, units))

    index = repetition(unit)
    evaluated, training, means = (
        episodes_with(*wanted) for wanted in ((EVALUATION, own), (TRAINING, own), (EVALUATION, "mean"))
    )
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
                if (index == 0 or name in BY_CHANCE) and (code == TOLD_NOTHING or name in TOLD):
                    searches.setdefault(name, []).append(_searched(searcher, unit, code, 1, episodes))

    def publish(session: Session, job_id: int) -> None:
        for name, several in searches.items():
            key = f"{name}/{index}"
            search_id = record_circuit_search(session, job_id, context, name=key, method=name, seed=index)
            record_found(session, job_id, context, search_id, key, several)

    return publish


def repetition(unit: Unit) -> int:
    """Which of several like it a unit is."""
    return int(unit.key.rpartition("/")[2])


def _searched(searcher: Searcher, unit: Unit, code: str, best_of: int, episodes: Sequence[Episode]) -> Searched:
    # the same luck in an episode for every searcher of one repetition
    luck = [(repetition(unit), episode.seed) for episode in episodes]
    found = search(searcher, [episode.scores for episode in episodes], unit.config["steps"], luck)
    return Searched(episodes[0].task, code, best_of, episodes, found)
