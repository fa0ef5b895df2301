"""The connection to MLflow: its database made when there is none, runs found, written and replaced."""

import json
import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

# before MLflow is imported: it reads them once
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
# standard output is for results; and a browser may find the server elsewhere than this process does
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from sqlalchemy import Engine, event

from tdlens.settings import Settings
from tdlens.tracking_content import Capture, Point, Run, Sae, flat

PARAM_LENGTH, TAG_LENGTH, KEY_LENGTH, DIGEST_LENGTH = 6000, 8000, 250, 36
"""MLflow's limits, in characters."""
BATCH_METRICS, BATCH_PARAMS, BATCH_TAGS = 1000, 100, 100
"""MLflow's limits of one request."""

ANSWER = 10.0
"""Seconds within which a server must answer at all."""
LARGEST_COPY = 100 * 2**20
"""Bytes above which an autoencoder's file stays in the blob store only, and MLflow gets its address."""

IDENTITY = "tdlens.identity"
"""Tag of a complete run: what it shows."""

logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Tracking:
    """An experiment in MLflow."""

    client: MlflowClient
    experiment: str

    @classmethod
    def open(cls, uri: str, settings: Settings, experiment: str) -> "Tracking":
        """Connect; on our own database, make it first if need be."""
        own = uri == settings.mlflow_uri
        if uri.startswith(("http://", "https://")):
            # A server that doesn't answer one question at once is away; MLflow would ask it for minutes.
            http_request(
                get_default_host_creds(uri), "/health", "GET", timeout=ANSWER, max_retries=0, raise_on_status=False
            )
        if own and not (settings.home / "mlflow.db").exists():
            _make_database(settings)
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            # a server puts artifacts where it is told to by its own settings
            location = settings.mlartifacts.as_uri() if own else None
            try:
                return cls(client, client.create_experiment(experiment, artifact_location=location))
            except MlflowException as error:
                if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                    raise
                found = client.get_experiment_by_name(experiment)  # another process made it meanwhile
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return cls(client, found.experiment_id)

    def find(self, **tags: str) -> list[Any]:
        """Runs with these tags, newest first; underscores in names stand for dots."""
        wanted = " and ".join(f"tags.`{name.replace('_', '.')}` = '{value}'" for name, value in tags.items())
        return list(self.client.search_runs([self.experiment], wanted, max_results=1000))

    def count(self) -> int:
        """Number of runs, up to a thousand."""
        return len(self.find())

    def start(self, run: Run, parent: str | None = None) -> str:
        """A new run with its parameters and tags, not complete yet; gives its key."""
        tags = {"mlflow.parentRunId": parent} if parent else {}
        made = self.client.create_run(self.experiment, _ms(run.started), tags, run.name)
        key: str = made.info.run_id
        params = [Param(_key(name), value[:PARAM_LENGTH]) for name, value in run.params.items()]
        for batch in _batches(params, BATCH_PARAMS):
            self.client.log_batch(key, params=batch)
        return key

    def finish(self, key: str, run: Run) -> None:
        """Tag the run as complete and set its end."""
        tags = [RunTag(name, value[:TAG_LENGTH]) for name, value in {**run.tags, IDENTITY: run.identity}.items()]
        for batch in _batches(tags, BATCH_TAGS):
            self.client.log_batch(key, tags=batch)
        if run.finished is None:
            self.client.update_run(key, status=run.status)
        else:
            self.client.set_terminated(key, run.status, _ms(run.finished))

    def log_points(self, key: str, run: Run, points: Iterable[Point]) -> None:
        """Metrics in large batches, all with the same moment, so that a repetition adds nothing."""
        moment = _ms(run.finished or run.started)
        metrics = (Metric(_key(p.key), p.value, moment, p.step) for p in points)
        for batch in _batches(metrics, BATCH_METRICS):
            self.client.log_batch(key, metrics=batch)

    def log_captures(self, key: str, captures: Iterable[Capture]) -> None:
        """One dataset a capture; MLflow's digest is too short for the checksum, so a tag has it whole."""
        inputs = [
            DatasetInput(
                Dataset(
                    name=capture.name,
                    digest=capture.sha256[:DIGEST_LENGTH],
                    source_type="local",
                    source=json.dumps({"uri": capture.source}),
                    profile=json.dumps(dict(capture.profile)),
                ),
                [InputTag("mlflow.data.context", "capture"), InputTag("sha256", capture.sha256)],
            )
            for capture in captures
        ]
        if inputs:
            self.client.log_inputs(key, inputs)

    def log_saes(self, key: str, study: str, saes: Iterable[Sae]) -> None:
        """Each autoencoder as a logged model: its configuration, and its file unless that is very large."""
        outputs = []
        for sae in saes:
            params = flat(sae.config)
            tags = {"tdlens.study": study, "tdlens.sha256": sae.sha256, "tdlens.blob": str(sae.path)}
            model = self.client.create_logged_model(self.experiment, sae.name, key, tags, params, "sparse autoencoder")
            with tempfile.TemporaryDirectory() as folder:
                config = Path(folder) / "config.json"
                config.write_text(json.dumps(dict(sae.config), indent=2))
                self.client.log_model_artifact(model.model_id, str(config))
            if sae.bytes <= LARGEST_COPY:
                self.client.log_model_artifact(model.model_id, str(sae.path))
            self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
            outputs.append(LoggedModelOutput(model.model_id, 0))
        if outputs:
            self.client.log_outputs(key, outputs)

    def log_files(self, key: str, files: Iterable[Path], folder: Path) -> None:
        """Files with their places below ``folder``; those already there are replaced."""
        for path in files:
            place = path.parent.relative_to(folder).as_posix()
            self.client.log_artifact(key, str(path), None if place == "." else place)

    def remove(self, run: Any) -> None:
        """Delete a run and the models it logged; MLflow keeps deleted runs until `mlflow gc`."""
        for output in (run.outputs.model_outputs or []) if run.outputs else []:
            with suppress(MlflowException):
                self.client.delete_logged_model(output.model_id)
        self.client.delete_run(run.info.run_id)


def _make_database(settings: Settings) -> None:
    """MLflow's schema, made under another name first: a killed process leaves no half of it behind.

    MLflow makes some 65 tables in a hundred transactions. Nothing is lost if the machine goes down meanwhile,
    so SQLite needn't wait for the disk after each of them: 2 s instead of 10.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.home, prefix="mlflow-new-") as folder, _no_waiting():
        path = Path(folder) / "mlflow.db"
        store = SqlAlchemyStore(f"sqlite:///{path}", settings.mlartifacts.as_uri())
        store.engine.dispose()
        with path.open("rb") as file:
            os.fsync(file.fileno())
        # another process may have been faster: then its database is kept
        with suppress(FileExistsError):
            (settings.home / "mlflow.db").hardlink_to(path)


@contextmanager
def _no_waiting() -> Iterator[None]:
    """SQLite connections opened meanwhile don't flush to the disk."""

    def configure(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", configure)
    try:
        yield
    finally:
        event.remove(Engine, "connect", configure)


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of at most ``size`` items."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _key(name: str) -> str:
    """The name in the characters and the length that MLflow allows, and no path from the root, as a folder's is."""
    return re.sub(r"[^\w\-./: ]", "_", name).strip("/")[:KEY_LENGTH]


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
