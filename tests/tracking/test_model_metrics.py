"""What MLflow is to show of how a model plays."""

from mlflow.utils.validation import _validate_metric_name
from sqlalchemy import select

from tdlens.record import Job, Model, ModelMetric, Record, StudyJob
from tdlens.testing.rows import fill, make_job
from tdlens.tracking_content import Point, points
from tdlens.tracking_store import _key
from tests.databases import migrated_postgres, record

__all__ = ["migrated_postgres", "record"]


def test_metrics_of_a_models_games_and_no_others(record: Record) -> None:
    with record.session() as session:
        fill(session)  # its own metric is of another stage
        known = session.scalars(select(StudyJob)).first()
        model = session.scalars(select(Model).where(Model.name == "reference")).one()
        assert known is not None
        job: Job = make_job(session, "games", stage="games")
        session.add(StudyJob(study_id=known.study_id, job_id=job.id))
        session.add(ModelMetric(job_id=job.id, model_id=model.id, name="mean_return", value=49.5, ci_low=47.0, n=10))
        session.add(ModelMetric(job_id=job.id, model_id=model.id, name="length_of_won_games", value=None))
    assert list(points(record, "demo", "games")) == [
        Point("reference/mean_return/value", 49.5, 0),
        Point("reference/mean_return/ci_low", 47.0, 0),
    ]


def test_a_model_called_by_its_folder_has_metrics_that_mlflow_takes() -> None:
    key = _key("/models/my model@2/return, swap/value")
    assert key == "models/my model_2/return_ swap/value"
    _validate_metric_name(key)
