"""One autoencoder for each block, trained on the decision tokens of all variants together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd
import torch
from sqlalchemy.orm import Session

from jobs.context import Context
from jobs.reading import read_activations
from jobs.recording import record_model
from jobs.sections import SAESection
from jobs.spool import mapped_rows
from jobs.stage import Plan, Publish, Unit
from sae.checkpoint import to_bytes
from sae.config import SAEConfig
from tdlens.blobs import StoredBlob
from tdlens.errors import UserError
from tdlens.record import SaeCheckpoint, SaeMetric, insert_rows, record_artifact, record_blob

NAME = "train_sae"
DESCRIPTION = "sparse autoencoders, one a block, on the decision tokens of all variants"


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each autoencoder section and block."""
    for section in context.study.sae:
        try:
            autoencoder = section.autoencoder(context.network.d_model).to_dict()
        except ValueError as error:
            raise UserError(
                f"The autoencoder {section.name} doesn't fit {context.study.model.name}, which is "
                f"{context.network.d_model} wide: {error}.",
                f"Change sae.{section.name}.expansion or sae.{section.name}.options, or take another model.",
            ) from None
        for block in context.blocks:
            config = {
                "name": section.name,
                "block": block,
                "autoencoder": autoencoder,
                "training": asdict(section.training()),
            }
            seed = context.study.seed * 10_000 + block
            yield Unit(NAME, f"{section.name}/block {block}", config, tuple(plan.of("play")), seed)


def run(context: Context, unit: Unit) -> Publish:
    section = section_of(context, unit)
    block = unit.config["block"]
    x = activations_of(context, unit.parents, block)
    config = section.autoencoder(context.network.d_model)
    n_steps = section.epochs * -(-len(x) // section.batch_size)
    trainer = context.trainer(section)
    with context.progress(f"train {unit.key}", n_steps) as advance:
        trained = trainer.fit(config, section.training(), x, seed=unit.seed, on_step=lambda: advance(1))
    blob = context.record.blobs.put_bytes(to_bytes(trained.sae), "safetensors")
    history = context.record.blobs.put_table(pd.DataFrame(trained.history))
    last = trained.history[-1]

    def publish(session: Session, job_id: int) -> None:
        model = context.study.model.name
        model_id = record_model(session, model, context.model_source, context.network)
        record_artifact(session, job_id, "history", history)
        values = {**trained.metrics, "loss": last.loss, "l1_norm": last.l1, "steps": float(last.step)}
        if config.resamplings:
            values["resampled"] = float(sum(epoch.resampled for epoch in trained.history))
        common = {"job_id": job_id, "model_id": model_id, "block": block, "seed": unit.seed}
        record_autoencoder(session, config, blob, values, name=section.name, config=dict(unit.config), **common)

    return publish


def record_autoencoder(
    session: Session, sae: SAEConfig, blob: StoredBlob, metrics: Mapping[str, float], **common: Any
) -> None:
    """Insert an autoencoder and its metrics.

    Args:
        session: of the transaction.
        sae: what it is.
        blob: holds it.
        metrics: by name.
        common: its other columns: job_id, model_id, name, block, config, seed.
    """
    common |= {"architecture": sae.architecture, "d_in": sae.d_in, "d_latents": sae.d_latents}
    checkpoint = SaeCheckpoint(blob=record_blob(session, blob), **common)
    session.add(checkpoint)
    session.flush()
    values = [{"sae_id": checkpoint.id, "name": name, "value": value} for name, value in metrics.items()]
    insert_rows(session, SaeMetric, values)


def section_of(context: Context, unit: Unit) -> SAESection:
    """The section of the study that a unit trains."""
    return next(section for section in context.study.sae if section.name == unit.config["name"])


def activations_of(context: Context, captures: Iterable[Unit], block: int) -> torch.Tensor:
    """Residual stream of one block at the decisions of several captures, one after the other, float32 [N, d].

    It is mapped from a file: it takes no memory that the system can't have back.
    """
    return mapped_rows(shards_of(context, captures, block))


def shards_of(context: Context, captures: Iterable[Unit], block: int) -> Iterator[torch.Tensor]:
    """The same shard by shard, each [n, d]."""
    return read_activations(context.record, [context.job_id(unit) for unit in captures], block)
