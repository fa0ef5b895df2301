"""How closely each block as a whole follows signals with a column a state, and how it represents the states.

Features of every source are correlated with every state's column in each rollout; the residual stream is compared as a
whole (CKA), its states are mapped, and what kind of state it is in is decoded from rollouts the decoder hasn't seen.
Activations are read one rollout after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from jobs.context import Context
from jobs.representation import Maps
from jobs.stage import Plan, Publish, Unit
from jobs.stages.correlate import activation_rows, autoencoder_of, features_of, sources
from jobs.stages.rank import model_of
from jobs.stages.train_sae import shards_of
from jobs.state_measures import Design, Followed, Measurement, Structure
from sae.autoencoder import Autoencoder
from sae.rollout_means import family_null, mean_interval
from tdlens.record import BlockMeasure, MapPoint, insert_rows, record_artifact

NAME = "represent"
DESCRIPTION = "blocks against signals with a column a state: largest r, CKA, decoding, similarity and maps of states"

MATRIX = "matrix"
"""Name of the artifact of an autoencoder's unit: each latent's correlation with each signal as parquet."""
STREAM = "stream"
"""The source that is the residual stream as a whole."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each source of features, and one for the residual stream; none without such signals."""
    study = context.study
    signals = study.signals.matrices(context.task)
    if not signals:
        return
    common = {
        "signals": signals,
        "covariates": list(study.correlate.covariates),
        "permutations": study.correlate.permutations,
        "alpha": study.correlate.alpha,
        "blocks": list(context.blocks),
    }
    found = sources(context)
    for source, sae in [*found, (STREAM, None)]:
        if source == "shuffled":  # comes with the null of its autoencoder
            continue
        config = {"source": source, "sae": sae, "shuffled": ("shuffled", sae) in found, **common}
        parents = [*plan.of("play"), *plan.of("signals")]
        parents += [unit for unit in plan.of("train_sae") if unit.config["name"] == sae]
        if source == "untrained":
            parents += plan.of("harvest")
        key = f"{source}{':' + sae if sae else ''}"
        yield Unit(NAME, key, config, tuple(parents), seed=study.seed, version=3)


def run(context: Context, unit: Unit) -> Publish:
    source, sae, blocks = unit.config["source"], unit.config["sae"], unit.config["blocks"]
    design = Design(context, unit)
    maps = Maps(context, unit) if source in (STREAM, "untrained") else None
    points = maps.signal_rows() if maps and source == STREAM else []
    measured: list[list[Measurement]] = []
    tables: list[pd.DataFrame] = []
    with context.progress(f"represent {unit.key}", len(blocks)) as advance:
        for block in blocks:
            here: list[Measurement] = []
            if maps:
                structure = Structure(design)
                for rollout, x in enumerate(_rollouts(context, unit, block)):
                    structure.add(rollout, x)
                    if rollout == Maps.ROLLOUT:
                        points += maps.rows(x, block=block, source=source)
                here += structure.measurements()
            if source != STREAM:
                autoencoder = _autoencoder(context, unit, block)
                read = partial(activation_rows, context, _captures(unit), block, autoencoder)
                about, encode = features_of(read, source, autoencoder)
                followed = Followed(design, about, scored=sae is not None)
                for rollout, x in enumerate(_rollouts(context, unit, block)):
                    followed.add(rollout, encode(x))
                here += followed.measurements()
                if sae is not None:
                    tables.append(followed.table().assign(block=block))
            measured.append(here)
            advance(1)
    rows = [
        {"source": source, "sae_name": sae, **row}
        for row in _judged(blocks, measured, unit.config["alpha"], shuffled=unit.config["shuffled"])
    ]
    blob = context.record.blobs.put_table(pd.concat(tables, ignore_index=True)) if tables else None

    def publish(session: Session, job_id: int) -> None:
        model_id = model_of(session, context, source)
        common = {"job_id": job_id, "model_id": model_id, "task": context.study.task.name}
        insert_rows(session, BlockMeasure, [common | row for row in rows])
        insert_rows(session, MapPoint, [{"job_id": job_id, **point} for point in points])
        if blob is not None:
            record_artifact(session, job_id, MATRIX, blob)

    return publish


def _rollouts(context: Context, unit: Unit, block: int) -> Iterator[torch.Tensor]:
    """The block's activations in one rollout after the other, [T, d]."""
    for shard in shards_of(context, _captures(unit), block):
        yield from shard.view(-1, context.n_decisions, shard.shape[1])


def _captures(unit: Unit) -> tuple[Unit, ...]:
    return unit.parents_of("harvest" if unit.config["source"] == "untrained" else "play")


def _autoencoder(context: Context, unit: Unit, block: int) -> Autoencoder | None:
    trained = {one.config["block"]: one for one in unit.parents_of("train_sae")}
    return autoencoder_of(context, trained[block]) if trained else None


def _judged(
    blocks: list[int], measured: list[list[Measurement]], alpha: float, *, shuffled: bool
) -> Iterator[dict[str, Any]]:
    """Rows of ``BlockMeasure``: all blocks of a measure and signal are one family of the null."""
    for family in zip(*measured, strict=True):
        null = family_null(np.stack([one.means for one in family], axis=1), alpha=alpha)
        for block, one, mean, threshold in zip(blocks, family, null.mean, null.threshold, strict=True):
            common = {"block": block, "measure": one.measure, "signal": one.signal}
            yield common | _interval(one.values) | {"null_mean": mean, "null_threshold": threshold}
            if shuffled and one.shuffled is not None:
                others = {"source": "shuffled", "null_mean": np.nan, "null_threshold": np.nan}
                yield common | _interval(one.shuffled) | others


def _interval(values: NDArray[np.float64]) -> dict[str, Any]:
    mean = mean_interval(values)
    return {"value": mean.value, "ci_low": mean.low, "ci_high": mean.high, "n_rollouts": mean.n}
