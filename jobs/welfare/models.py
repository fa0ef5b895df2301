"""The models that a study's trainings leave: their names, their files out of the record, and what runs them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.context import Context
from jobs.inference.base import Engine
from jobs.inference.files import ModelFiles
from jobs.inference.models import load_engine
from jobs.maze_training.config import TrainingConfig
from jobs.recording import record_model
from jobs.sections import TrainingSection
from jobs.stage import Plan, Unit
from tdlens.record import Artifact, Blob, MazeCheckpoint, MazeTraining

TRAIN_IN_MAZE = "train_in_maze"
"""The stage whose units are the trainings."""
KEPT = 2
"""Trained models that a process holds at a time."""


def model_name(context: Context, training: str | None, step: int | None = None) -> str:
    """What the record calls a model: the naive one (no training), a trained one, or a checkpoint."""
    name = context.study.model.name
    if training is None:
        return name
    return f"{name}:{training}" if step is None else f"{name}:{training}@{step}"


def model_source(context: Context, training: str, step: int | None = None) -> str:
    """Where a trained model's weights come from, as the record keeps it."""
    after = "" if step is None else f", step {step}"
    return f"{context.model_source}, trained in the maze: {training}{after}"


def training_units(plan: Plan) -> dict[str, Unit]:
    """The unit of each training, by its name, in the study's order."""
    return {unit.key: unit for unit in plan.of(TRAIN_IN_MAZE)}


def section_of(context: Context, unit: Unit) -> TrainingSection:
    """The section of the study that a training's unit stands for."""
    return next(section for section in context.study.training if section.name == unit.key)


def training_config(context: Context, section: TrainingSection) -> TrainingConfig:
    """Everything that decides a training; its seed derives from the study's, too."""
    config = section.config(context.study.task.settings)
    return replace(config, seed=context.study.seed * 1000 + config.seed)


def kept_steps(unit: Unit) -> tuple[int, ...]:
    """After which steps a training's models are in the record; the last is the trained model."""
    steps, every = unit.config["training"]["steps"], unit.config["training"]["checkpoint_every"]
    between = range(every, steps, every) if unit.config["checkpoints"] else ()
    return (*between, steps)


def artifact_name(step: int, file: str) -> str:
    """What a file of the model after a step is called among the artifacts of its training."""
    return f"step-{step:05}/{file}"


@contextmanager
def files_of(context: Context, unit: Unit, step: int | None = None) -> Iterator[ModelFiles]:
    """The files of a trained model, for as long as the context lasts: links to the blobs, nothing is copied.

    Args:
        context: of the study.
        unit: the training, done.
        step: of a checkpoint; the trained model if None.

    Raises:
        ValueError: no model was kept after that step.
        MissingBlob, CorruptBlob: a file of the record is missing or damaged.
    """
    prefix = artifact_name(unit.config["training"]["steps"] if step is None else step, "")
    query = (
        select(Artifact.name, Blob.sha256, Blob.suffix)
        .join(Blob, Blob.sha256 == Artifact.blob)
        .where(Artifact.job_id == context.job_id(unit), Artifact.name.startswith(prefix, autoescape=True))
    )
    with context.record.session(read_only=True) as session:
        found = session.execute(query).all()
    if not found:
        raise ValueError(f"the training {unit.key} has kept no model {prefix}")
    with TemporaryDirectory(prefix="tdlens-model-") as folder:
        for name, sha256, suffix in found:
            (Path(folder) / name.removeprefix(prefix)).symlink_to(context.record.blobs.verified(sha256, suffix))
        yield ModelFiles(Path(folder), model_source(context, unit.key, step))


def engine_of(context: Context, unit: Unit | None, step: int | None = None) -> Engine:
    """What runs a model: the naive one (no unit), a trained one, or a checkpoint. The last few stay loaded.

    Args:
        context: of the study, whose device and precision it gets.
        unit: the training, done.
        step: of a checkpoint; the trained model if None.
    """
    if unit is None:
        return context.engine
    engines: OrderedDict[tuple[str, int | None], Engine] = context.keep(OrderedDict, "trained models")
    key = (unit.identity, step)
    if key not in engines:
        while len(engines) >= KEPT:
            engines.popitem(last=False)[1].close()
        model = context.study.model
        with files_of(context, unit, step) as files:
            engines[key] = load_engine(files, dtype=model.dtype, device=model.device)
    engines.move_to_end(key)
    return engines[key]


def model_id(session: Session, context: Context, unit: Unit | None, step: int | None = None) -> int:
    """The row of the naive model (no unit), of a trained one, or of a checkpoint.

    Args:
        session: of the transaction; the naive model's row is made in it if there is none.
        context: of the study.
        unit: the training, done.
        step: of a checkpoint; the trained model if None.
    """
    if unit is None:
        return record_model(session, context.study.model.name, context.model_source, context.engine)
    query = (
        select(MazeCheckpoint.model_id)
        .join(MazeTraining, MazeTraining.id == MazeCheckpoint.training_id)
        .where(
            MazeTraining.job_id == context.job_id(unit),
            MazeCheckpoint.step == (unit.config["training"]["steps"] if step is None else step),
        )
    )
    return session.scalars(query).one()
