"""MLflow as a projection of the record: written from it, never read for results, and written again when lost.

A study's current revision is one run, with one nested run for each stage that has jobs. Nothing is written twice:
a run carries the identity of what it shows, set when it is complete; a stage whose jobs changed replaces its run.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from tdlens.errors import UserError
from tdlens.record import Record
from tdlens.settings import Settings
from tdlens.tracking_content import captures, points, read_study, saes

EXPERIMENT = "tdlens"
"""The one experiment that holds all studies."""


def tracking_uri(settings: Settings) -> str:
    """MLflow's address: MLFLOW_TRACKING_URI, or a database of its own beside the record."""
    return os.environ.get("MLFLOW_TRACKING_URI") or settings.mlflow_uri


def project(record: Record, study: str) -> int:
    """Write a study's current revision to MLflow, as far as it isn't there yet.

    Returns:
        How many runs were written.

    Raises:
        UserError: MLflow can't be reached or refuses; the record isn't touched by that.
    """
    content = read_study(record, study)
    with _explained(record.settings):
        from tdlens.tracking_store import IDENTITY, Tracking

        tracking = Tracking.open(tracking_uri(record.settings), record.settings, EXPERIMENT)
        found = tracking.find(tdlens_key=content.key)
        if not found:
            parent = tracking.start(content.run)
            tracking.client.set_tag(parent, "tdlens.key", content.key)
        else:
            parent = found[0].info.run_id
        written = 0
        old = tracking.find(mlflow_parentRunId=parent)
        shown = {stage.identity for stage in content.stages}
        complete = {run.data.tags.get(IDENTITY) for run in old}
        for run in old:
            if run.data.tags.get(IDENTITY) not in shown:
                tracking.remove(run)
        for stage in content.stages:
            if stage.identity not in complete:
                key = tracking.start(stage, parent)
                tracking.log_points(key, stage, points(record, study, stage.name))
                tracking.log_captures(key, captures(record, study, stage.name))
                if stage.name == "train_sae":
                    tracking.log_saes(key, study, saes(record, study))
                tracking.finish(key, stage)
                written += 1
        if not found or found[0].data.tags.get(IDENTITY) != content.run.identity:
            tracking.log_files(parent, content.files, record.settings.reports / study)
            tracking.finish(parent, content.run)
            written += 1
    return written


def reach(settings: Settings) -> str:
    """Ask MLflow for the number of its runs; says it in words.

    Raises:
        UserError: it can't be reached.
    """
    with _explained(settings):
        from tdlens.tracking_store import Tracking

        return f"{Tracking.open(tracking_uri(settings), settings, EXPERIMENT).count()} runs"


@contextmanager
def _explained(settings: Settings) -> Iterator[None]:
    """Turn MLflow's failures, which have many types, into one that says what was lost: nothing."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        from mlflow.exceptions import MlflowException

        if not isinstance(error, MlflowException | SQLAlchemyError | OSError):
            raise
        uri = tracking_uri(settings)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        own = f" If {settings.home / 'mlflow.db'} is damaged, delete it first." if uri == settings.mlflow_uri else ""
        raise UserError(
            f"MLflow at {uri} can't be written: {reason}",
            f"The record is complete without it. When MLflow is in order: tdlens sync-mlflow.{own}",
        ) from error
