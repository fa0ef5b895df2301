"""The bridge to the study of TD errors: concept vectors beside the latents that follow TD errors and values.

The latents are those that another study has found in the maze-naive model: correlations of its autoencoders' latents
with the signals of a learner, of any study in the record whose model has the same weights. Which ones there are decides
what a unit is, so a study that is planned again after such a study ends has new units; without any it has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from jobs.context import Context
from jobs.stage import Plan, Publish, Unit
from jobs.stages import concepts
from jobs.stages.concepts import final_units, naive_unit
from jobs.welfare.bridge import Array, beside, matched_sets, strongest, unit_rows
from jobs.welfare.concept_vectors import read_vectors
from sae.checkpoint import mapped
from tdlens.record import (
    Analysis,
    Blob,
    ConceptLatent,
    ConceptSignal,
    Coverage,
    Job,
    JobParent,
    Model,
    SaeCheckpoint,
    Signal,
    Study,
    StudyJob,
    insert_rows,
)

NAME = "bridge"
DESCRIPTION = "concept vectors beside the latents that follow TD errors and values in the same model"

SIGNALS = ("td_error", "q_chosen", "q_max")
"""The TD error and the values that latents are known to follow, where a study recorded them."""
CONCEPTS = ("gold", "mold")
LATENTS, SETS = 10, 10_000
"""Latents of a signal; sets of others that they are compared with: enough that of a hundred tests one can still be
significant after Holm's correction."""
RANKED = ("r_partial_selection", "r_selection", "r")
"""What ranks latents: the first of these columns that is known. On the half of the rollouts that latents are chosen by,
given the covariates, if these don't hold the signal constant."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each training; none where no study has found such latents."""
    trained = final_units(plan)
    if not trained or not (found := _analyses(context)):
        return
    config = {"analyses": found, "signals": list(SIGNALS), "latents": LATENTS, "sets": SETS}
    for training, unit in trained.items():
        parents = (unit, naive_unit(unit))
        yield Unit(NAME, training, {"training": training} | config, parents, context.study.seed)


def _analyses(context: Context) -> list[str]:
    """Identities of the finished units whose correlations current studies ask for, sorted."""
    query = (
        select(Job.identity)
        .join(Analysis, Analysis.job_id == Job.id)
        .join(Model, Model.id == Analysis.model_id)
        .join(StudyJob, StudyJob.job_id == Job.id)
        .join(Study, Study.id == StudyJob.study_id)
        .where(
            Job.state == "done",
            Study.is_current,
            Analysis.source == "sae",
            Model.fingerprint == context.engine.describe().fingerprint,
            Analysis.id.in_(select(Coverage.analysis_id).join(Signal).where(*_usable())),
        )
        .distinct()
        .order_by(Job.identity)
    )
    with context.record.session(read_only=True) as session:
        return list(session.scalars(query))


def _usable() -> tuple[ColumnElement[bool], ...]:
    return Signal.name.in_(SIGNALS), Coverage.blob.is_not(None), Coverage.n_live > 0


@dataclass(frozen=True, eq=False)
class Followed:
    """The live latents of an autoencoder and how they follow a signal."""

    sae_id: int
    block: int
    signal: str
    directions: Array
    """Decoder rows, of norm 1 [m, d]."""
    readings: Array
    """Encoder rows in the scale of the raw stream [m, d]."""
    table: pd.DataFrame
    """Of each: latent, frequency, r, r_partial and the correlation that ranks it, ``ranked``."""


def followed(context: Context, identities: Iterable[str]) -> Iterator[Followed]:
    """Every autoencoder and signal of the units, block after block; of several correlations those of most rollouts."""
    query = (
        select(Coverage.block, Coverage.blob, Signal.name, SaeCheckpoint.id, Blob.sha256, Blob.suffix)
        .join(Analysis, Analysis.id == Coverage.analysis_id)
        .join(Job, Job.id == Analysis.job_id)
        .join(Signal, Signal.id == Coverage.signal_id)
        .join(JobParent, JobParent.job_id == Job.id)
        .join(
            SaeCheckpoint,
            (SaeCheckpoint.job_id == JobParent.parent_id)
            & (SaeCheckpoint.block == Coverage.block)
            & (SaeCheckpoint.name == Analysis.sae_name),
        )
        .join(Blob, Blob.sha256 == SaeCheckpoint.blob)
        .where(Job.identity.in_(list(identities)), *_usable())
        .order_by(Coverage.block, SaeCheckpoint.id, Signal.name, Analysis.n_rollouts.desc(), Job.identity)
    )
    with context.record.session(read_only=True) as session:
        rows = session.execute(query).all()
    seen: set[tuple[int, str]] = set()
    blobs = context.record.blobs
    for block, matrix, signal, sae_id, sha256, suffix in rows:
        if matrix is None or (sae_id, signal) in seen:
            continue
        seen.add((sae_id, signal))
        table = ranked(blobs.load_table(matrix), signal)
        sae = mapped(blobs.verified(sha256, suffix))
        live = torch.tensor(table["latent"].to_numpy())
        encoder, _, decoder = (part[live].double().numpy() for part in sae.by_latent(lambda weight: weight.detach()))
        yield Followed(sae_id, block, signal, unit_rows(decoder), encoder * float(sae.scale), table)


def ranked(matrix: pd.DataFrame, signal: str) -> pd.DataFrame:
    """The latents of one signal that fire and have a correlation to be ranked by, in the order of their index."""
    mine = matrix[(matrix["signal"] == signal) & (matrix["frequency"] > 0)]
    column = next((name for name in RANKED if name in mine and mine[name].notna().any()), "r")
    mine = mine.assign(ranked=mine[column]).dropna(subset=["ranked", "r"]).sort_values("latent")
    return mine[["latent", "frequency", "r", "r_partial", "ranked"]].reset_index(drop=True)


def run(context: Context, unit: Unit) -> Publish:
    vectors = {
        f"{before}{concept}": read_vectors(context, parent).of(concept).double().numpy()
        for parent in unit.parents_of(concepts.NAME)
        for before in ("untrained " if parent.config["training"] is None else "",)
        for concept in CONCEPTS
    }
    latents: list[dict[str, Any]] = []
    sets: list[dict[str, Any]] = []
    found = list(followed(context, unit.config["analyses"]))
    with context.progress(f"bridge {unit.key}", len(found)) as advance:
        for one in found:
            seed = (unit.seed, one.block, SIGNALS.index(one.signal))
            here = {name: blocks[one.block] for name, blocks in vectors.items() if blocks[one.block].any()}
            for rows, more in zip((latents, sets), _compared(one, here, unit.config, seed), strict=True):
                about = {"sae_id": one.sae_id, "block": one.block, "signal": one.signal}
                rows += [about | row for row in more]
            advance(1)

    def publish(session: Session, job_id: int) -> None:
        about = {"job_id": job_id, "training": unit.config["training"]}
        insert_rows(session, ConceptLatent, [about | row for row in latents])
        insert_rows(session, ConceptSignal, [about | row for row in sets])

    return publish


def _compared(
    one: Followed, vectors: dict[str, Array], config: Any, seed: tuple[int, ...]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the latents that follow the signal best, and of them as a set, for each vector [d]."""
    correlation = one.table["ranked"].to_numpy()
    chosen = strongest(correlation, config["latents"])
    if not vectors or not len(chosen):
        return [], []
    rng = np.random.default_rng(seed)
    drawn = matched_sets(chosen, one.table["frequency"].to_numpy(), config["sets"], rng)
    stacked = np.stack(list(vectors.values()))
    units = unit_rows(stacked)
    cosine, reading = units @ one.directions[chosen].T, units @ one.readings[chosen].T
    known = one.table.iloc[chosen]
    of_latents = [
        {"concept": concept, "latent": latent, "r": r, "r_partial": partial, "cosine": near, "activation": read}
        for concept, nearness, reads in zip(vectors, cosine.tolist(), reading.tolist(), strict=True)
        for latent, r, partial, near, read in zip(
            *(known[name].tolist() for name in ("latent", "r", "r_partial")), nearness, reads, strict=True
        )
    ]
    compared = beside(stacked, one.directions, correlation, chosen, drawn)
    of_sets = [
        {"concept": concept, "n_latents": len(chosen), **asdict(found)}
        for concept, found in zip(vectors, compared, strict=True)
    ]
    return of_latents, of_sets
