"""Published results as rows of the record: the curves, and the example runs analysed as a study's own play is.

All of it is one unit of a study of its own, inserted in one transaction: it is there as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from envs import TASKS
from envs.agents import Transitions, signal_sources
from envs.agents.behaviour import BehaviourFit, compare, standard_models
from envs.two_step import ACTIONS
from jobs.owner import this_process
from jobs.published.correlations import Measure, measures
from jobs.published.points import Point, points
from jobs.published.runs import ExampleRun, example_runs
from jobs.recording import Replayed, record_rollouts, record_signals, record_task, replay_sources
from jobs.sections import CorrelateSection, hint
from jobs.stage import Unit
from jobs.stages.behaviour import behaviour_row
from tdlens.errors import UserError
from tdlens.identity import digest
from tdlens.provenance import provenance
from tdlens.record import (
    BlockMeasure,
    LearningSignal,
    Model,
    PublishedPoint,
    Record,
    Signal,
    current_study,
    find_or_create,
    insert_columns,
    insert_rows,
    leases,
)

STAGE = "import"
TASK = "two_step"
PUBLISHED = "published"
"""Policy of the rollouts and name of the autoencoder that others' results are recorded under."""
AGENTS = TASKS[TASK].agents
"""The signal sources that replay the runs, at the paper's settings."""
TRACES = {"td_error": "TD error", "latent": "Activation of the latent that follows the TD error best"}
"""What a run's figure shows; recorded as signals ``published_td_error`` and ``published_latent``."""
SIGNALS = (*CorrelateSection().signals, "published_td_error", "log_step")
COVARIATES = CorrelateSection().covariates
RESAMPLES = 10_000
"""Of whole runs, behind the intervals of the behaviour models."""


@dataclass(frozen=True)
class Publication:
    """Where published results come from."""

    citation: str
    curves: str
    """The folder of its curves."""
    model: Mapping[str, Any]
    """Columns of its model's row."""
    block: int
    """Of the latent in its example runs, as an index into hidden states."""


PUBLICATIONS = {
    "demircan2025": Publication(
        citation="Demircan et al. 2025, arXiv 2410.01280v1",
        curves="td_in_llms",
        model={
            "name": "meta-llama/Meta-Llama-3-70B",
            "fingerprint": PUBLISHED,
            "dtype": "unknown",
            "architecture": "LlamaForCausalLM",
            "n_blocks": 80,
            "d_model": 8192,
            "n_parameters": 70_553_706_496,
        },
        block=34,
    )
}
"""By the name of the study that holds their results."""


def import_published(record: Record, name: str) -> bool:
    """Bring the record to hold a publication's results.

    Returns:
        Whether they were inserted now; False if they were there.

    Raises:
        UserError: no such publication.
    """
    if name not in PUBLICATIONS:
        raise UserError(
            f"There are no published results called {name!r}{hint(name, list(PUBLICATIONS))}.",
            f"These can be imported: {', '.join(PUBLICATIONS)}.",
        )
    publication = PUBLICATIONS[name]
    drawn, runs = list(points(publication.curves)), example_runs()
    unit = Unit(STAGE, name, _config(publication, drawn, runs))
    there = "SELECT job FROM v_job WHERE study = :study AND identity = :identity AND state = 'done'"
    if len(record.query(there, {"study": name, "identity": unit.identity})):
        return False
    analysed = _analyse(runs)
    about = {"name": name, "task": {"name": PUBLISHED}, **unit.config}
    with record.session() as session:
        title = f"Published results: {publication.citation}"
        study = current_study(session, name=name, title=title, config=about)
        leases.enqueue(session, study.id, [leases.Planned(unit.identity, STAGE, name, unit.config, unit.seed, ())])
        held = leases.claim(session, study.id, this_process(), provenance=asdict(provenance()))
        if held is None:
            return False  # another process was quicker
        _insert_points(session, held.job_id, publication, drawn)
        _insert_runs(session, held.job_id, publication, runs, analysed)
        leases.publish(session, held)
    return True


def _config(publication: Publication, drawn: list[Point], runs: list[ExampleRun]) -> dict[str, Any]:
    """Everything that decides the rows."""
    return {
        "publication": asdict(publication),
        "points": digest(drawn),
        "runs": digest([[run.variant, run.run, run.steps] for run in runs]),
        "agents": list(AGENTS),
        "signals": list(SIGNALS),
        "covariates": list(COVARIATES),
        "resamples": RESAMPLES,
    }


@dataclass(frozen=True, eq=False)
class Analysed:
    """What is computed from R runs of T decisions."""

    replayed: list[Replayed]
    fits: list[BehaviourFit]
    measures: list[Measure]


def _analyse(runs: list[ExampleRun]) -> Analysed:
    histories = [Transitions.from_steps(run.steps) for run in runs]
    sources = signal_sources(ACTIONS)
    replayed = replay_sources(histories, [sources[name] for name in AGENTS])
    signals = {name: values for one in replayed for name, values in one.values.items()}
    signals["published_td_error"] = np.array([run.td_error for run in runs])
    latent = np.array([run.latent for run in runs])
    keys = [(run.variant, run.run) for run in runs]
    chosen = [np.array([not step.forced for step in run.steps]) for run in runs]
    fits = compare(histories, chosen, standard_models(ACTIONS), np.random.default_rng(0), RESAMPLES)
    return Analysed(replayed, fits, list(measures(latent, signals, keys, SIGNALS, COVARIATES)))


def _insert_points(session: Session, job_id: int, publication: Publication, drawn: list[Point]) -> None:
    columns = dict(zip(Point._fields, map(list, zip(*drawn, strict=True)), strict=True))
    insert_columns(session, PublishedPoint, {"job_id": job_id, "source": publication.citation, **columns})


def _insert_runs(
    session: Session, job_id: int, publication: Publication, runs: list[ExampleRun], analysed: Analysed
) -> None:
    key = {name: publication.model[name] for name in ("name", "fingerprint", "dtype")}
    values = {name: value for name, value in publication.model.items() if name not in key}
    model_id = find_or_create(session, Model, key, source=publication.citation, **values).id
    keys = []
    for variant, several in groupby(runs, key=lambda run: run.variant):
        mine = list(several)
        task = {"variant": variant, "source": f"{publication.citation}, fig 3"}
        task_id = record_task(session, TASK, task, ACTIONS)
        histories, numbers = [run.steps for run in mine], [run.run for run in mine]
        keys.append(
            record_rollouts(
                session, histories, numbers, job_id=job_id, task_id=task_id, model_id=model_id, policy=PUBLISHED
            )
        )
    step_ids = np.concatenate(keys)
    record_signals(session, job_id, step_ids, analysed.replayed)
    for name, description in TRACES.items():
        parameters = {"figure": "3", "block": publication.block, "scaled": "each run from 0 to 1"}
        signal = find_or_create(
            session,
            Signal,
            {"name": f"published_{name}", "parameters_hash": digest(parameters)},
            agent=publication.citation,
            parameters=parameters,
            description=f"{description}, as published: from 0 at the run's minimum to 1 at its maximum",
        )
        trace = np.concatenate([getattr(run, name) for run in runs])
        columns = {"job_id": job_id, "signal_id": signal.id, "step_id": step_ids.ravel(), "value": trace}
        insert_columns(session, LearningSignal, columns)
    for fit in analysed.fits:
        row = behaviour_row(fit, job_id, TASK, model_id, len(runs))
        row.policy = PUBLISHED
        session.add(row)
    about = {"job_id": job_id, "model_id": model_id, "task": TASK, "block": publication.block}
    insert_rows(
        session,
        BlockMeasure,
        [
            about
            | {"source": "sae", "sae_name": PUBLISHED, "measure": one.name, "signal": one.signal, "value": one.value}
            | {"ci_low": one.low, "ci_high": one.high, "n_rollouts": one.n_rollouts}
            for one in analysed.measures
        ],
    )
