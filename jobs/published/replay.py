"""The example runs as rows: played by the published model, and analysed as a study's own play is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from envs import TASKS
from envs.agents import Transitions, signal_sources
from envs.agents.behaviour import BehaviourFit, compare, standard_models
from envs.two_step import ACTIONS
from jobs.published.correlations import Measure, measures
from jobs.published.runs import ExampleRun
from jobs.recording import Replayed, record_rollouts, record_signals, record_task, replay_sources
from jobs.sections import CorrelateSection
from jobs.stages.behaviour import behaviour_row
from tdlens.identity import digest
from tdlens.record import BlockMeasure, LearningSignal, Model, Signal, find_or_create, insert_columns, insert_rows

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
class Player:
    """Who played a publication's example runs."""

    model: Mapping[str, Any]
    """Columns of its row."""
    block: int
    """Of the latent in the runs, as an index into hidden states."""


def settings(runs: list[ExampleRun]) -> dict[str, Any]:
    """Everything that decides the rows, but for the player."""
    return {
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


def analyse(runs: list[ExampleRun]) -> Analysed:
    """Learning signals, behaviour models and the latent's correlations of runs."""
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


def insert_runs(
    session: Session, job_id: int, citation: str, player: Player, runs: list[ExampleRun], analysed: Analysed
) -> None:
    """The runs and what was computed from them, within the caller's transaction."""
    key = {name: player.model[name] for name in ("name", "fingerprint", "dtype")}
    values = {name: value for name, value in player.model.items() if name not in key}
    model_id = find_or_create(session, Model, key, source=citation, **values).id
    keys = []
    for variant, several in groupby(runs, key=lambda run: run.variant):
        mine = list(several)
        task = {"variant": variant, "source": f"{citation}, fig 3"}
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
        parameters = {"figure": "3", "block": player.block, "scaled": "each run from 0 to 1"}
        signal = find_or_create(
            session,
            Signal,
            {"name": f"published_{name}", "parameters_hash": digest(parameters)},
            agent=citation,
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
    about = {"job_id": job_id, "model_id": model_id, "task": TASK, "block": player.block}
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
