"""A study of many short units that compute next to nothing, and publish blobs and rows as real ones do.

`install` puts its stages in place of tdlens's own. *play* plays at random and captures noise, *signals* is the real
stage, and *digest* reads the blobs of a play and writes another.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs import context as context_module
from jobs import pipeline
from jobs.context import Context
from jobs.inference.base import ModelDescription
from jobs.inference.files import ModelFiles
from jobs.recording import record_model, record_rollouts, record_task
from jobs.shards import ShardWriters, record_capture
from jobs.stage import Plan, Publish, Unit
from jobs.stages import signals
from tdlens.record import ActivationShard, Capture, record_artifact
from tdlens.record import engine as record_engine

UNITS = 3
"""Units of each of the study's plays: play, signals, digest."""
BLOCKS, WIDTH = (1, 2), 4
TOML = """
name = "storm"
title = "Many short units"
seed = 5

[task]
rollouts = {plays}
settings = {{ episodes = 6, random_episodes = 1, change_episode = 3 }}

[model]
name = "none"

[signals]
agents = ["myopic", "repetition"]

[[sae]]
name = "none"
options = {{ l1 = 1.0 }}

[correlate]
signals = ["myopic_error"]
covariates = ["myopic_max"]
traced = []
"""
SECONDS = "TESTS_UNIT_SECONDS"
"""Environment variable: how long a unit takes on average."""
ONLY = "TESTS_ONLY_STAGE"
"""Environment variable: the one stage that is planned; otherwise all are."""
SQLITE_WAIT = "TESTS_SQLITE_WAIT"
"""Environment variable: seconds that a process waits for another's transaction in SQLite."""


class Engine:
    """In place of a model."""

    device = torch.device("cpu")
    place = "cpu"
    d_model = WIDTH
    n_blocks = len(BLOCKS)

    def describe(self) -> ModelDescription:
        return ModelDescription("None", self.n_blocks, WIDTH, 0, "float32", "none")

    def close(self) -> None:
        """Nothing is held."""


def _signed(context: Context, unit: Unit, insert: Publish) -> Publish:
    """Takes its time, and adds a row of this attempt's own: a job that is published twice has two of them."""
    part = int.from_bytes(hashlib.sha256(unit.identity.encode()).digest()[:4]) / 2**32
    time.sleep(2 * part * float(os.environ.get(SECONDS, "0")))
    blob = context.record.blobs.put_bytes(f"{unit.stage} {unit.key}".encode(), "txt")
    name = f"attempt {uuid.uuid4()}"

    def publish(session: Session, job_id: int) -> None:
        insert(session, job_id)
        record_artifact(session, job_id, name, blob)

    return publish


def _play_units(context: Context, plan: Plan) -> Iterable[Unit]:
    for number in range(context.study.task.rollouts):
        yield Unit("play", f"{number}", {"number": number}, seed=number)


def _play(context: Context, unit: Unit) -> Publish:
    rng = np.random.default_rng(unit.seed)
    config = context.task.config(variant="standard", **context.study.task.settings)
    game = context.task.make(config, unit.seed)
    while not game.done:
        forced = game.forced_action
        game.observe()
        game.act(int(rng.integers(len(game.actions))) if forced is None else forced)
    shape = (1, len(game.steps), WIDTH)
    with ShardWriters.of(context) as writers:
        writers.take({block: torch.as_tensor(rng.standard_normal(shape)) for block in BLOCKS})
        shards = writers.results()

    def publish(session: Session, job_id: int) -> None:
        model_id = record_model(session, "none", "none", context.engine)
        task_id = record_task(session, "two_step", {"variant": "standard"}, context.task.actions)
        rollout = {"job_id": job_id, "task_id": task_id, "model_id": model_id, "policy": "model"}
        step_ids = record_rollouts(session, [game.steps], [unit.seed], **rollout)
        record_capture(session, context, shards, step_ids, job_id=job_id, model_id=model_id)

    return _signed(context, unit, publish)


def _signals(context: Context, unit: Unit) -> Publish:
    return _signed(context, unit, signals.run(context, unit))


def _digest_units(context: Context, plan: Plan) -> Iterable[Unit]:
    for play in plan.of("play"):
        yield Unit("digest", play.key, {}, parents=(play,))


def _digest(context: Context, unit: Unit) -> Publish:
    with context.record.session(read_only=True) as session:
        query = select(ActivationShard.blob).join(Capture).where(Capture.job_id == context.job_id(unit.parents[0]))
        shards = session.scalars(query.order_by(ActivationShard.block)).all()
    assert len(shards) == len(BLOCKS)
    values = [context.record.blobs.load_tensors(blob)["mean"].numpy() for blob in shards]
    blob = context.record.blobs.put_table(pd.DataFrame({"unit": unit.key, "mean": np.concatenate(values)}))
    return _signed(context, unit, lambda session, job_id: record_artifact(session, job_id, "digest", blob))


def install() -> None:
    """In this process tdlens has these stages and no model, and is less patient with SQLite if it is told so."""
    named = (("play", _play_units, _play), ("signals", signals.units, _signals), ("digest", _digest_units, _digest))
    stages: Any = tuple(
        SimpleNamespace(NAME=name, DESCRIPTION=name, units=units, run=run)
        for name, units, run in named
        if os.environ.get(ONLY) in (None, name)
    )
    pipeline.STAGES = pipeline.OF_PLAY = stages
    context_module.find_model = lambda *_, **__: ModelFiles(Path(), "none")
    context_module.load_engine = lambda *_, **__: Engine()  # type: ignore[assignment,return-value]
    if wait := os.environ.get(SQLITE_WAIT):
        record_engine.SQLITE_WAIT = float(wait)  # type: ignore[assignment]
