"""Judge the correlations of one source over all its blocks as one family, and put the strongest into SQL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.context import Context
from jobs.reading import signal_ids
from jobs.recording import record_model
from jobs.stage import Plan, Publish, Unit
from jobs.stages.correlate import MATRIX, NULL, autoencoder_of, sources
from jobs.stages.signals import rollouts_of
from jobs.stages.train_sae import shards_of
from sae.permutation_null import FamilyNull
from tdlens.record import (
    Analysis,
    Artifact,
    Coverage,
    LatentActivation,
    SaeCheckpoint,
    insert_analysis,
    insert_columns,
    insert_rows,
)

NAME = "rank"
DESCRIPTION = "family-wise thresholds and q-values over all blocks; the strongest correlations go into SQL"

KEPT = (
    *("r", "r_selection", "r_heldout", "ci_low", "ci_high", "heldout_low", "heldout_high"),
    *("r_partial", "r_partial_heldout", "partial_low", "partial_high", "null_mean", "null_sd"),
    *("p_familywise", "q_value"),
)
"""Columns of the whole matrix that the kept rows take into SQL."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each source of features."""
    for source, sae in sources(context):
        blocks = [u for u in plan.of("correlate") if (u.config["source"], u.config["sae"]) == (source, sae)]
        trained = [u for u in plan.of("train_sae") if u.config["name"] == sae]
        correlate = context.study.correlate
        config: dict[str, Any] = {"source": source, "sae": sae, "top": correlate.top, "cutoff": correlate.cutoff}
        parents = (*blocks, *trained, plan.of("signals")[0])
        if source == "sae":
            config["traced"] = list(correlate.traced)
            parents = (*parents, *plan.of("play"))
        yield Unit(NAME, f"{source}{':' + sae if sae else ''}", config, parents)


def run(context: Context, unit: Unit) -> Publish:
    study, source = context.study, unit.config["source"]
    blocks = unit.parents_of("correlate")
    family, *others = (_family(context, block) for block in blocks)
    for other in others:
        family.merge(other)
    threshold = family.threshold_z(study.correlate.alpha)
    cuts = [_cut(context, unit, block, family, threshold) for block in blocks]
    kept = pd.concat([cut.kept for cut in cuts], ignore_index=True)
    found = [_trace(context, unit, kept, signal) for signal in unit.config.get("traced", ())]
    n_rollouts = study.task.rollouts * len(study.task.variants)

    def publish(session: Session, job_id: int) -> None:
        analysis = Analysis(
            job_id=job_id,
            task=study.task.name,
            model_id=model_of(session, context, source),
            source="raw" if source == "untrained" else source,
            sae_name=unit.config["sae"],
            n=n_rollouts * context.n_decisions,
            n_rollouts=n_rollouts,
            family_size=family.n_tests,
            n_permutations=study.correlate.permutations,
            alpha=study.correlate.alpha,
            threshold_z=threshold,
            covariates=list(study.correlate.covariates),
            top=unit.config["top"],
            cutoff=unit.config["cutoff"],
        )
        known = signal_ids(session, context.job_id(unit.parents_of("signals")[0]), study.correlate.signals)
        checkpoints = _checkpoints(session, context, unit)
        columns: dict[str, Any] = {name: kept[name].to_numpy() for name in ("block", "latent", *KEPT)}
        columns |= {
            "signal_id": kept["signal"].map(known).to_numpy(),
            "sae_id": [checkpoints.get(block) for block in kept["block"]],
            "n": analysis.n,
            "n_rollouts": n_rollouts,
        }
        insert_analysis(session, analysis, columns)
        coverage = [
            {"analysis_id": analysis.id, "block": cut.block, "signal_id": known[signal], "blob": cut.blob, **about}
            for cut in cuts
            for signal, about in cut.coverage.items()
        ]
        insert_rows(session, Coverage, coverage)
        for trace in filter(None, found):
            keys = {"job_id": job_id, "sae_id": checkpoints[trace.block], "signal_id": known[trace.signal]}
            values = {"latent": trace.latent, "step_id": trace.step_ids, "value": trace.values}
            insert_columns(session, LatentActivation, keys | values)

    return publish


@dataclass(frozen=True, eq=False)
class Cut:
    """What of one block goes into SQL."""

    block: int
    blob: str
    """The whole matrix."""
    kept: pd.DataFrame
    coverage: dict[str, dict[str, Any]]
    """Columns of each signal's row that says what was kept."""


def _cut(context: Context, unit: Unit, block: Unit, family: FamilyNull, threshold: float) -> Cut:
    with context.record.session(read_only=True) as session:
        blob = _artifact(session, context, block, MATRIX)
    table = context.record.blobs.load_table(blob)
    table["p_familywise"], table["q_value"] = family.p_familywise(table["z"]), family.q_value(table["z"])
    table["threshold"] = table["null_mean"].abs() + threshold * table["null_sd"]
    parts, coverage = [], {}
    for signal in context.study.correlate.signals:
        tested = table[table["signal"] == signal].dropna(subset=["r"])
        part, bound = strongest(tested, unit.config["top"], unit.config["cutoff"])
        parts.append(part)
        coverage[signal] = {
            "n_latents": _width(context, unit),
            "n_live": len(tested),
            "n_kept": len(part),
            "min_abs_r_kept": bound,
            "r_threshold": float(tested["threshold"].max()) if len(tested) else None,
        }
    return Cut(block.config["block"], blob, pd.concat(parts), coverage)


def strongest(tested: pd.DataFrame, top: int, cutoff: float) -> tuple[pd.DataFrame, float | None]:
    """The features that go into SQL, and the |r| above which none is missing (None: there are none).

    The ``top`` features by |r|, all others with |r| of at least ``cutoff``, and the highest and lowest ``top`` by r on
    the selection half, which chooses.
    """
    size = tested["r"].abs().sort_values(ascending=False, kind="stable")
    by_r = size.index[: max(top, int((size >= cutoff).sum()))]
    by_selection = tested["r_selection"].dropna().sort_values(kind="stable").index
    kept = tested.loc[by_r.union(by_selection[:top]).union(by_selection[-top:])]
    return kept, float(size[by_r].min()) if len(by_r) else None


@dataclass(frozen=True, eq=False)
class Trace:
    """The activation of one latent at every decision of every variant."""

    signal: str
    block: int
    latent: int
    step_ids: NDArray[np.int64]
    values: NDArray[np.float64]


def _trace(context: Context, unit: Unit, kept: pd.DataFrame, signal: str) -> Trace | None:
    """The latent that follows a signal best on the selection half, over all blocks; None where none varies."""
    candidates = kept[kept["signal"] == signal].dropna(subset=["r_selection"])
    if candidates.empty:
        return None
    best = candidates.iloc[int(candidates["r_selection"].to_numpy().argmax())]
    block, latent = int(best["block"]), int(best["latent"])
    plays = unit.parents_of("play")
    trained = next(u for u in unit.parents_of("train_sae") if u.config["block"] == block)
    sae = autoencoder_of(context, trained)
    z = torch.cat([sae.encode(x)[:, latent] for x in shards_of(context, plays, block)])
    step_ids = np.concatenate([rollouts_of(context, play).step_ids.ravel() for play in plays])
    return Trace(signal, block, latent, step_ids, z.double().numpy())


def matrix_of(context: Context, unit: Unit) -> pd.DataFrame:
    """All correlations of a source, every block and signal, from its parquet blobs; ``unit`` is of this stage."""

    def read() -> pd.DataFrame:
        with context.record.session(read_only=True) as session:
            blobs = [_artifact(session, context, block, MATRIX) for block in unit.parents_of("correlate")]
        return pd.concat([context.record.blobs.load_table(blob) for blob in blobs], ignore_index=True)

    return context.keep(read, "matrix", unit.identity).copy()


def _family(context: Context, block: Unit) -> FamilyNull:
    with context.record.session(read_only=True) as session:
        blob = _artifact(session, context, block, NULL)
    return FamilyNull.from_tensors(context.record.blobs.load_tensors(blob))


def _artifact(session: Session, context: Context, unit: Unit, name: str) -> str:
    job_id = context.job_id(unit)
    return session.scalars(select(Artifact.blob).where(Artifact.job_id == job_id, Artifact.name == name)).one()


def model_of(session: Session, context: Context, source: str) -> int:
    """The row of the model whose activations a source is made of."""
    name = context.study.model.name
    if source == "untrained":
        return record_model(session, f"{name}-untrained", "", context.untrained_network)
    return record_model(session, name, context.model_source, context.network)


def _checkpoints(session: Session, context: Context, unit: Unit) -> dict[int, int]:
    jobs = [context.job_id(parent) for parent in unit.parents_of("train_sae")]
    rows = session.execute(select(SaeCheckpoint.block, SaeCheckpoint.id).where(SaeCheckpoint.job_id.in_(jobs)))
    return {block: key for block, key in rows}


def _width(context: Context, unit: Unit) -> int:
    trained = unit.parents_of("train_sae")
    return int(trained[0].config["autoencoder"]["d_latents"]) if trained else context.network.d_model
