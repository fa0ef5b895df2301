"""Handing a study to workers: what there is to do goes into the record, and its number to whoever does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.study import Study
from tdlens.record import Record, Submission, current_study, leases
from tdlens.record.ledger import Executor


def record_study(record: Record, study: Study) -> int:
    """The study's revision, made current, with what failed before back in line."""
    config = study.model_dump(mode="json", exclude={"title"})
    with record.session() as session:
        study_id = current_study(session, name=study.name, title=study.title, config=config).id
        leases.retry_failed(session, study_id)
    return study_id


def submit(record: Record, study: Study, executor: Executor, settings: Mapping[str, Any]) -> Submission:
    """Enter a study for ``tdlens worker --job ID``. The first worker plans its units.

    Args:
        executor: who will start the workers.
        settings: what is asked of it (JSON values).
    """
    study_id = record_study(record, study)
    submission = Submission(study_id=study_id, executor=executor, settings=dict(settings))
    with record.session() as session:
        session.add(submission)
    return submission
