"""No MLflow server during the whole run: it succeeds with a warning, and `tdlens sync-mlflow` writes all later."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tdlens.settings import Settings
from tests.faults.places import Place, Rows, database, storm, tiny
from tests.faults.preloaded import Preloaded

BOUND = 90.0
"""Seconds within which a command gives up on a server, on a busy machine; MLflow's own retries take 100."""


def shown(settings: Settings) -> dict[str, Any]:
    """All that MLflow's own store shows of the study, without its keys, moments and places."""
    client = MlflowClient(settings.mlflow_uri)
    experiment = client.get_experiment_by_name("tdlens")
    assert experiment is not None
    runs = list(client.search_runs([experiment.experiment_id], max_results=1000))
    names = {run.info.run_id: run.info.run_name for run in runs}
    found = {}
    for run in runs:
        history = {
            (name, point.step, point.value)
            for name in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, name)
        }
        tags = {
            name: value.replace(str(settings.home), "")
            for name, value in run.data.tags.items()
            if name not in OWN and not name.startswith("mlflow.")
        }
        models = [client.get_logged_model(out.model_id) for out in (run.outputs.model_outputs if run.outputs else [])]
        found[run.info.run_name] = {
            "status": run.info.status,
            "parent": names.get(run.data.tags.get("mlflow.parentRunId", "")),
            "params": run.data.params,
            "metrics": history,
            "tags": tags,
            "datasets": sorted((one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs),
            "models": sorted((model.name, tuple(sorted(model.params.items()))) for model in models),
            "files": sorted(_files(client, run.info.run_id)),
        }
    return found


OWN = {"tdlens.identity", "tdlens.key", "tdlens.database"}
"""Tags that name the record and not what is in it."""


def _files(client: MlflowClient, run: str, folder: str | None = None) -> Iterator[str]:
    for file in client.list_artifacts(run, folder):
        if file.is_dir:
            yield from _files(client, run, file.path)
        else:
            yield file.path


@pytest.fixture(scope="module")
def live(preloaded: Preloaded, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run with MLflow writes there."""
    folder = tmp_path_factory.mktemp("live")
    with database("sqlite", folder / "home") as settings:
        place = tiny(preloaded, tmp_path_factory.getbasetemp(), folder, settings)
        done = place.run("--mlflow")
        assert done.returncode == 0 and "Warning" not in done.said, done.said
        return shown(settings)


@pytest.fixture
def study(preloaded: Preloaded, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with database("sqlite", tmp_path / "home") as settings:
        yield tiny(preloaded, tmp_path_factory.getbasetemp(), tmp_path / "study", settings)


def give_up(place: Place, address: str) -> float:
    """Seconds that ``tdlens sync-mlflow`` takes to give up on a server."""
    began = time.monotonic()
    refused = place.set(MLFLOW_TRACKING_URI=address).tdlens("sync-mlflow")
    assert refused.returncode == 2, refused.said
    assert f"MLflow at {address} can't be written" in refused.said and "Traceback" not in refused.said
    return time.monotonic() - began


@pytest.mark.slow
def test_no_server_for_the_whole_run(study: Place, live: dict[str, Any], tiny_rows: Rows) -> None:
    with socket.socket() as closed:  # bound and not listening: nobody else takes the port, and nobody answers
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        done = study.set(MLFLOW_TRACKING_URI=address).run("--mlflow")
        assert done.returncode == 0, done.said
        assert f"Warning: MLflow at {address} can't be written" in done.said and "tdlens sync-mlflow" in done.said
        assert not (study.settings.home / "mlflow.db").exists()
        assert give_up(study, address) < BOUND
    assert study.rows() == tiny_rows
    written = study.tdlens("sync-mlflow")
    assert written.returncode == 0, written.said
    assert shown(study.settings) == live


def test_a_server_that_never_answers(
    preloaded: Preloaded, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with database("sqlite", tmp_path / "home") as settings, socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        place = storm(preloaded, tmp_path, settings, plays=4, seconds=0.0).set(MLFLOW_TRACKING_URI=address)
        began = time.monotonic()
        done = place.run("--mlflow")
        assert done.returncode == 0 and f"Warning: MLflow at {address} can't be written" in done.said, done.said
        assert time.monotonic() - began < BOUND
