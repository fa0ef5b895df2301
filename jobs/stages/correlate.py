"""Correlations of one block's features with all learning signals, and the null they are judged by.

Features are the live latents of an autoencoder, or, as controls, the dimensions of the residual stream, its principal
components, the dimensions of an untrained model, or latents against signals of other rollouts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.context import Context
from jobs.reading import read_signals
from jobs.spool import ColumnSpool
from jobs.stage import Plan, Publish, Unit
from jobs.stages.signals import rollouts_of
from jobs.stages.train_sae import shards_of
from sae.autoencoder import Autoencoder
from sae.checkpoint import mapped
from sae.metrics import evaluate, rows_at_once
from sae.permutation_null import rollout_permutations
from sae.principal_components import principal_components
from sae.rollout_statistics import RolloutCorrelation, correlate_parts, latents_at_once, split_halves
from tdlens.record import Blob, SaeCheckpoint, record_artifact

NAME = "correlate"
DESCRIPTION = "all live latents × all signals, with controls, intervals and a null that permutes whole rollouts"

MATRIX, NULL = "matrix", "null"
"""Names of the two artifacts: the correlations as parquet, the block's part of the family's null as safetensors."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each source of features and block."""
    study = context.study
    common = {
        "signals": list(study.correlate.signals),
        "covariates": list(study.correlate.covariates),
        "permutations": study.correlate.permutations,
        "alpha": study.correlate.alpha,
    }
    read = (*plan.of("play"), *plan.of("signals"))
    for source, sae in sources(context):
        for block in context.blocks:
            config = {"source": source, "sae": sae, "block": block, **common}
            parents = list(read)
            if sae is not None:
                parents += [
                    unit
                    for unit in plan.of("train_sae")
                    if unit.config["name"] == sae and unit.config["block"] == block
                ]
            if source == "untrained":
                parents += plan.of("harvest")
            key = f"{source}{':' + sae if sae else ''}/block {block}"
            yield Unit(NAME, key, config, tuple(parents), seed=study.seed)


def sources(context: Context) -> list[tuple[str, str | None]]:
    """Sources of features with the autoencoder they need: every autoencoder, then the controls."""
    names = [section.name for section in context.study.sae]
    found: list[tuple[str, str | None]] = [("sae", name) for name in names]
    for control in context.study.correlate.controls:
        if control != "shuffled":
            found.append((control, None))
        elif names:
            found.append((control, names[0]))
    return found


def run(context: Context, unit: Unit) -> Publish:
    study, block = context.study, unit.config["block"]
    plays = unit.parents_of("play")
    strata = np.repeat(np.arange(len(plays)), study.task.rollouts)
    sae = autoencoder_of(context, unit.parents_of("train_sae")[0]) if unit.config["sae"] is not None else None
    captures = unit.parents_of("harvest" if unit.config["source"] == "untrained" else "play")
    read = partial(activation_rows, context, captures, block, sae)
    table, encode = features_of(read, unit.config["source"], sae)
    signals = signals_of(context, unit, study.correlate.signals)
    covariates = signals_of(context, unit, study.correlate.covariates)
    if unit.config["source"] == "shuffled":
        signals = signals[rollout_permutations(strata, 1, seed=unit.seed + 1)[0]]
    shape = (len(strata), context.n_decisions)
    with ColumnSpool(math.prod(shape), len(table), latents_at_once(math.prod(shape))) as spool:
        for x in read():
            spool.append(encode(x))
        result = correlate_parts(
            (part.reshape(*shape, part.shape[1]) for part in spool.parts()),
            signals,
            covariates=covariates,
            strata=strata,
            selection=split_halves(strata, seed=unit.seed),
            permutations=rollout_permutations(strata, study.correlate.permutations, seed=unit.seed),
            confidence=1 - study.correlate.alpha,
        )
    blobs = {
        MATRIX: context.record.blobs.put_table(
            _long(result, table, study.correlate.signals, block), group=max(1, len(table))
        ),
        NULL: context.record.blobs.put_tensors(result.family.to_tensors()),
    }

    def publish(session: Session, job_id: int) -> None:
        for name, blob in blobs.items():
            record_artifact(session, job_id, name, blob)

    return publish


def activation_rows(
    context: Context, captures: Iterable[Unit], block: int, sae: Autoencoder | None
) -> Iterator[torch.Tensor]:
    """Activations of a block [n, d], as many rows after the other as an autoencoder takes at once."""
    for shard in shards_of(context, captures, block):
        yield from rows_at_once(shard, shard.shape[1] if sae is None else sae.config.d_latents)


Encode = Callable[[torch.Tensor], torch.Tensor]
"""From activations [n, d] to features [n, F], float32."""


def features_of(
    chunks: Callable[[], Iterable[torch.Tensor]], source: str, sae: Autoencoder | None
) -> tuple[pd.DataFrame, Encode]:
    """The features that vary: their index (``latent``), firing frequency and size, and what computes them.

    Latents if there is an autoencoder, else components or single dimensions.

    Args:
        chunks: gives the activations part by part, each [n, d]; called once for each time that they are read.
    """
    if sae is not None:
        metrics = evaluate(sae, chunks())
        kept = np.flatnonzero(metrics.varies)
        about = {"latent": kept, "frequency": metrics.frequency[kept], "rms": metrics.latent_rms[kept]}
        return pd.DataFrame(about), lambda x: sae.encode(x)[:, kept]
    project = principal_components(chunks()).project if source == "pca" else _unchanged
    low, high, squares, n = torch.tensor(torch.inf), torch.tensor(-torch.inf), torch.zeros(()), 0
    for x in map(project, chunks()):
        low, high = torch.minimum(low, x.amin(0)), torch.maximum(high, x.amax(0))
        squares, n = squares + x.double().square().sum(0), n + len(x)
    kept = np.flatnonzero((high > low).numpy())
    about = {"latent": kept, "frequency": np.ones(len(kept)), "rms": (squares / n).sqrt().numpy()[kept]}
    return pd.DataFrame(about), lambda x: project(x)[:, kept].float()


def _unchanged(x: torch.Tensor) -> torch.Tensor:
    return x


def autoencoder_of(context: Context, unit: Unit) -> Autoencoder:
    """The autoencoder that a unit of ``train_sae`` recorded, mapped from its file; the checksum is verified."""
    with context.record.session(read_only=True) as session:
        sha256, suffix = session.execute(
            select(Blob.sha256, Blob.suffix)
            .join(SaeCheckpoint, SaeCheckpoint.blob == Blob.sha256)
            .where(SaeCheckpoint.job_id == context.job_id(unit))
        ).one()
    return mapped(context.record.blobs.verified(sha256, suffix))


def signals_of(context: Context, unit: Unit, names: tuple[str, ...]) -> NDArray[np.float64]:
    """Learning signals of all variants' rollouts, [R, T, S]."""
    plays, replays = unit.parents_of("play"), unit.parents_of("signals")

    def read() -> NDArray[np.float64]:
        with context.record.session(read_only=True) as session:
            parts = [
                read_signals(session, context.job_id(replay), rollouts_of(context, play).step_ids, names)
                for play, replay in zip(plays, replays, strict=True)
            ]
        return np.concatenate(parts)

    return context.keep(read, "signals", names, *(replay.identity for replay in replays))


def _long(result: RolloutCorrelation, about: pd.DataFrame, signals: tuple[str, ...], block: int) -> pd.DataFrame:
    """One row for each feature and signal: signal after signal, each from its strongest correlation on."""
    n_features, n_signals = result.r.shape
    columns: dict[str, Any] = {
        "block": block,
        "signal": np.tile(np.array(signals), n_features),
        **{str(name): np.repeat(about[name].to_numpy(), n_signals) for name in about},
    }
    for name in (
        "r",
        "r_selection",
        "r_heldout",
        "heldout_low",
        "heldout_high",
        "r_partial",
        "r_partial_selection",
        "r_partial_heldout",
        "partial_low",
        "partial_high",
        "ci_low",
        "ci_high",
        "null_mean",
        "null_sd",
        "z",
    ):
        columns[name] = getattr(result, name).ravel()
    order = np.lexsort((-np.abs(columns["r"]), np.tile(np.arange(n_signals), n_features)))
    table = pd.DataFrame({**columns, "n": result.n, "n_rollouts": result.n_rollouts})
    return table.iloc[order].reset_index(drop=True)
