"""What the latents that follow the TD error follow of it: reward, the next state's value, the last action's value.

The best latent of each block, chosen on the selection half of the rollouts, is regressed on the three parts on the
other half, as it is and with the covariates held constant.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from envs.agents import QLearning
from envs.agents.td_parts import PARTS, SIGNS, td_parts
from jobs.context import Context
from jobs.effects import resamples
from jobs.learners import config as learner
from jobs.recording import record_model
from jobs.stage import Plan, Publish, Unit
from jobs.stages.correlate import MATRIX, autoencoder_of, signals_of
from jobs.stages.signals import rollouts_of
from jobs.stages.train_sae import shards_of
from sae.part_regression import Weights, part_weights
from sae.rollout_statistics import split_halves
from tdlens.record import Artifact, BlockMeasure, insert_rows

NAME = "td_parts"
DESCRIPTION = "the best TD latent of each block regressed on the parts of the TD error"

SIGNAL = "td_error"
MEASURES = tuple(f"td_part_{part}" for part in PARTS)
EXPLAINED, BY_DIFFERENCE = "td_part_explained", "td_part_explained_by_error"
"""Share of the latent's variance that the three parts explain, and that their sum with its signs, the error, does."""
PARTIAL = "_partial"
"""Ends the names of measures with the covariates held constant."""

Floats = NDArray[np.float64]


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each autoencoder, where a Q-learner's TD error is among the signals."""
    study = context.study
    if QLearning.name not in study.signals.agents or SIGNAL not in study.correlate.signals:
        return
    for section in study.sae:
        config = {
            "sae": section.name,
            "signals": study.signals.config(),
            "covariates": list(study.correlate.covariates),
            "bootstrap": study.bootstrap,
        }
        correlated = [u for u in plan.of("correlate") if (u.config["source"], u.config["sae"]) == ("sae", section.name)]
        trained = [u for u in plan.of("train_sae") if u.config["name"] == section.name]
        parents = (*plan.of("play"), *plan.of("signals"), *trained, *correlated)
        yield Unit(NAME, section.name, config, parents, seed=study.seed)


def run(context: Context, unit: Unit) -> Publish:
    study, plays = context.study, unit.parents_of("play")
    strata = np.repeat(np.arange(len(plays)), study.task.rollouts)
    heldout = ~split_halves(strata, seed=unit.seed)  # the halves of the correlations
    rollouts = [transitions for play in plays for transitions in rollouts_of(context, play).transitions]
    settings = learner(study.signals)
    scored = [rollouts[index] for index in np.flatnonzero(heldout)]
    parts = np.stack([td_parts(t, len(context.task.actions), settings) for t in scored])
    covariates = signals_of(context, unit, study.correlate.covariates)[heldout]
    n = int(heldout.sum())
    drawn = resamples(n, study.bootstrap, unit.seed)
    rows: list[dict[str, Any]] = []
    with context.progress(f"parts of the TD error, {unit.key}", len(unit.parents_of("correlate"))) as advance:
        for correlated in unit.parents_of("correlate"):
            block = correlated.config["block"]
            latent = best_latent(context, correlated)
            if latent is not None:
                z = _activation(context, unit, block, latent).reshape(len(strata), -1)[heldout]
                for given, ending in ((None, ""), (covariates, PARTIAL)):
                    rows += [{"block": block, "n_rollouts": n, **row} for row in _rows(z, parts, given, drawn, ending)]
            advance(1)

    def publish(session: Session, job_id: int) -> None:
        common = {
            "job_id": job_id,
            "model_id": record_model(session, study.model.name, context.model_source, context.network),
            "task": study.task.name,
            "source": "sae",
            "sae_name": unit.config["sae"],
            "signal": SIGNAL,
        }
        insert_rows(session, BlockMeasure, [common | row for row in rows])

    return publish


def best_latent(context: Context, correlated: Unit) -> int | None:
    """The latent of a block that follows the TD error best on the selection half; None where none varies."""
    with context.record.session(read_only=True) as session:
        query = select(Artifact.blob).where(Artifact.job_id == context.job_id(correlated), Artifact.name == MATRIX)
        table: pd.DataFrame = context.record.blobs.load_table(session.scalars(query).one())
    candidates = table[table["signal"] == SIGNAL].dropna(subset=["r_selection"]).sort_values("latent")
    if candidates.empty:
        return None
    return int(candidates["latent"].to_numpy()[candidates["r_selection"].to_numpy().argmax()])


def _activation(context: Context, unit: Unit, block: int, latent: int) -> Floats:
    trained = next(one for one in unit.parents_of("train_sae") if one.config["block"] == block)
    sae = autoencoder_of(context, trained)
    parts = [sae.encode(x)[:, latent].double().numpy() for x in shards_of(context, unit.parents_of("play"), block)]
    return np.concatenate(parts)


def _rows(z: Floats, parts: Floats, given: Floats | None, drawn: Floats, ending: str) -> Iterable[dict[str, Any]]:
    separate = part_weights(z, parts, given, weights=drawn)
    error = (parts * SIGNS).sum(-1, keepdims=True)
    together = part_weights(z, error, given, weights=drawn)
    names = (*MEASURES, EXPLAINED)
    found = [(name, separate, index) for index, name in enumerate(names)] + [(BY_DIFFERENCE, together, 1)]
    for name, weights, index in found:
        yield {"measure": f"{name}{ending}", **_at(weights, index)}


def _at(weights: Weights, index: int) -> dict[str, float]:
    value, low, high = (float(numbers[index]) for numbers in weights)
    return {"value": value, "ci_low": low, "ci_high": high}
