"""The record: everything tdlens knows, in one relational database with a folder of blobs beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tdlens.blobs import BlobStore
from tdlens.record.activations import ActivationShard, Capture, CaptureRow
from tdlens.record.autoencoders import LatentActivation, SaeCheckpoint, SaeMetric
from tdlens.record.base import Base
from tdlens.record.behaviour import BehaviourFit
from tdlens.record.bulk import insert_columns, insert_rows, new_ids
from tdlens.record.concepts import (
    ConceptCosine,
    ConceptLatent,
    ConceptSignal,
    ConceptToken,
    ConceptVector,
    EmotionComponent,
    EmotionCosine,
    GoalTracking,
)
from tdlens.record.correlations import Analysis, Coverage, LatentCorrelation
from tdlens.record.engine import make_engine, open_session
from tdlens.record.experience import Episode, Model, Rollout, Step, Task
from tdlens.record.features import LatentExample, LatentMeasure, LatentPredicate, ModelMetric
from tdlens.record.interventions import Intervention, InterventionEffect, InterventionLatent
from tdlens.record.ledger import Artifact, Blob, Job, JobParent, Study, StudyJob, Submission, Worker
from tdlens.record.maze_trainings import MazeCheckpoint, MazeProgress, MazeTraining
from tdlens.record.migrate import check, current_revision, upgrade
from tdlens.record.partitions import insert_analysis
from tdlens.record.query import query
from tdlens.record.registry import current_study, find_or_create, record_artifact, record_blob
from tdlens.record.representations import BlockMeasure, MapPoint, PublishedPoint
from tdlens.record.searches import (
    CircuitSearch,
    HeadLabel,
    HeadMeasure,
    HeadPair,
    HeadScore,
    PlantedCircuit,
    SearchEpisode,
    SearchProgress,
    SearchStep,
)
from tdlens.record.signals import LearningSignal, Signal
from tdlens.record.steering import PlantedAxis, SteeredText, SteeringContrast, SteeringEffect
from tdlens.remote_blobs import open_blobs
from tdlens.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ActivationShard",
    "Analysis",
    "Artifact",
    "Base",
    "BehaviourFit",
    "Blob",
    "BlockMeasure",
    "Capture",
    "CaptureRow",
    "CircuitSearch",
    "ConceptCosine",
    "ConceptLatent",
    "ConceptSignal",
    "ConceptToken",
    "ConceptVector",
    "Coverage",
    "EmotionComponent",
    "EmotionCosine",
    "Episode",
    "GoalTracking",
    "HeadLabel",
    "HeadMeasure",
    "HeadPair",
    "HeadScore",
    "Intervention",
    "InterventionEffect",
    "InterventionLatent",
    "Job",
    "JobParent",
    "LatentActivation",
    "LatentCorrelation",
    "LatentExample",
    "LatentMeasure",
    "LatentPredicate",
    "LearningSignal",
    "MapPoint",
    "MazeCheckpoint",
    "MazeProgress",
    "MazeTraining",
    "Model",
    "ModelMetric",
    "PlantedAxis",
    "PlantedCircuit",
    "PublishedPoint",
    "Record",
    "Rollout",
    "SaeCheckpoint",
    "SaeMetric",
    "SearchEpisode",
    "SearchProgress",
    "SearchStep",
    "Signal",
    "SteeredText",
    "SteeringContrast",
    "SteeringEffect",
    "Step",
    "Study",
    "StudyJob",
    "Submission",
    "Task",
    "Worker",
    "current_study",
    "find_or_create",
    "insert_analysis",
    "insert_columns",
    "insert_rows",
    "new_ids",
    "record_artifact",
    "record_blob",
]


@dataclass(frozen=True)
class Record:
    """An open record: the database and the blobs beside it."""

    settings: Settings
    engine: Engine
    blobs: BlobStore

    @classmethod
    def open(cls, settings: Settings) -> Record:
        """Opens the record, and makes its schema where there is none at all.

        Raises:
            SchemaMismatch: the schema is older or newer than this version of tdlens needs.
            Unreachable: the database can't be opened.
            UserError: the database belongs to another program.
        """
        if current_revision(settings) is None:
            upgrade(settings)
        check(settings)
        return cls(settings, make_engine(settings), open_blobs(settings))

    def patient(self, seconds: float, tell: Callable[[str], None]) -> Record:
        """The same record, whose blobs are waited for so long when their store can't be reached."""
        return replace(self, blobs=self.blobs.patient(seconds, tell))

    @contextmanager
    def session(self, *, read_only: bool = False) -> Iterator[Session]:
        """One transaction: committed at the end of the block, rolled back by an exception.

        A session that isn't `read_only` holds SQLite's one write lock, so compute before and not inside it.

        Raises:
            Unreachable, DatabaseBusy, DiskFull: as their names say.
        """
        with open_session(self.engine, self.settings, read_only=read_only) as session:
            session.info["blobs"] = self.blobs
            yield session

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The rows of one SELECT; see `tdlens.record.query.query`."""
        return query(self.settings, sql, parameters)

    def close(self) -> None:
        self.engine.dispose()
