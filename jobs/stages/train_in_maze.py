"""The study's trainings: the model learns in the maze, by reinforcement or from the best trajectories."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from sqlalchemy.orm import Session

from jobs.context import Context
from jobs.inference.fingerprint import hash_files
from jobs.maze_training.config import TrainingConfig
from jobs.maze_training.folder import checkpoint_folder, model_files
from jobs.maze_training.run import Point, about, curve_of, train
from jobs.recording import record_model
from jobs.stage import Plan, Publish, Unit
from jobs.welfare.models import (
    TRAIN_IN_MAZE,
    artifact_name,
    kept_steps,
    model_name,
    model_source,
    section_of,
    training_config,
)
from jobs.welfare.workplaces import workplace
from tdlens.blobs import StoredBlob
from tdlens.record import MazeCheckpoint, MazeProgress, MazeTraining, insert_rows, record_artifact

NAME = TRAIN_IN_MAZE
DESCRIPTION = "the model learns in the maze; its checkpoints are kept"


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit a training; the first one's checkpoints are kept, too."""
    for index, section in enumerate(context.study.training):
        training = training_config(context, section)
        checkpoints = index == 0 and context.study.concepts.checkpoints
        config = {**context.model_config, "training": training.as_json(), "checkpoints": checkpoints}
        yield Unit(NAME, section.name, config, seed=training.seed)


def run(context: Context, unit: Unit) -> Publish:
    config = training_config(context, section_of(context, unit))
    settings, files = context.record.settings, context.model_files
    with workplace(settings, unit.identity, about(files, config)) as folder:
        _train(context, unit, config, folder)
        curve = curve_of(folder)
        fingerprints, blobs = {}, {}
        for step in kept_steps(unit):
            model = folder if step == config.steps else checkpoint_folder(folder, step)
            fingerprints[step] = hash_files(model)
            for file in model_files(model):
                blobs[artifact_name(step, file.name)] = _stored(context, file)

    def publish(session: Session, job_id: int) -> None:
        base_id = record_model(session, model_name(context, None), context.model_source, context.engine)
        described, model_ids = context.engine.describe(), {}
        for step, fingerprint in fingerprints.items():
            of_checkpoint = None if step == config.steps else step
            name = model_name(context, unit.key, of_checkpoint)
            source = model_source(context, unit.key, of_checkpoint)
            model_ids[step] = record_model(session, name, source, replace(described, fingerprint=fingerprint))
        for name, blob in blobs.items():
            record_artifact(session, job_id, name, blob)
        training = MazeTraining(
            job_id=job_id,
            base_id=base_id,
            model_id=model_ids[config.steps],
            name=unit.key,
            algorithm=config.algorithm,
            variant=config.maze.variant,
            shuffled=config.shuffled,
            steps=config.steps,
            seed=config.seed,
            parameters=config.as_json(),
        )
        session.add(training)
        session.flush()
        insert_rows(session, MazeProgress, [_progress(training.id, point) for point in curve])
        checkpoints = [
            {"training_id": training.id, "step": step, "model_id": model_id} for step, model_id in model_ids.items()
        ]
        insert_rows(session, MazeCheckpoint, checkpoints)

    return publish


def _train(context: Context, unit: Unit, config: TrainingConfig, folder: Path) -> None:
    with context.progress(f"train {unit.key} in the maze", config.steps) as advance:
        train(
            context.model_files,
            folder,
            config,
            device=context.study.model.device,
            on_step=lambda point: advance(1),
        )


def _stored(context: Context, file: Path) -> StoredBlob:
    copy = partial(shutil.copyfile, file)
    return context.record.blobs.put_file(copy, file.suffix[1:], size=file.stat().st_size)


def _progress(training_id: int, point: Point) -> dict[str, object]:
    columns = asdict(point)
    del columns["entropy_weight"]
    return {"training_id": training_id, **columns}
