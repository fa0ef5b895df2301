"""Bulk inserts and the keys of their rows."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tdlens.record import (
    Episode,
    LatentExample,
    LatentMeasure,
    LatentPredicate,
    LearningSignal,
    Record,
    Signal,
    Step,
    insert_columns,
    insert_rows,
    new_ids,
)
from tdlens.testing.backend import Backend
from tdlens.testing.rows import fill, make_job


def steps(session: Session, ids: list[int]) -> dict[str, Any]:
    """Columns of more steps of some episode, with numbers of NumPy's types."""
    episode = session.scalars(select(Episode)).first()
    assert episode is not None
    n = len(ids)
    return {
        **{
            "id": ids,
            "episode_id": episode.id,
            "rollout_id": episode.rollout_id,
            "index": np.arange(n) + 100,
        },
        **{
            "state": 0,
            "action": 0,
            "reward": np.float32(1.5),
            "next_state": -1,
            "done": True,
            "forced": False,
        },
    }


def learning_signals(session: Session, n: int) -> dict[str, Any]:
    """Columns of `n` learning signals of steps that were just inserted."""
    fill(session)
    job = make_job(session, "signals")
    signal = session.scalars(select(Signal)).one()
    ids = new_ids(session, Step, n)
    arrays = {"action": np.zeros(n, np.int32), "done": np.ones(n, bool)}
    insert_columns(session, Step, steps(session, ids) | arrays | {"action_probabilities": [[0.25, 0.75]] * n})
    return {
        "job_id": job.id,
        "signal_id": signal.id,
        "step_id": np.array(ids),
        "value": np.linspace(-1, 1, n),
    }


class BulkInsertTests(Backend):
    """Rows by the column."""

    def test_bulk_inserts_store_plain_values(self, record: Record) -> None:
        with record.session() as session:
            columns = learning_signals(session, 1000)
            insert_columns(session, LearningSignal, columns)
        with record.session(read_only=True) as session:
            step = session.scalars(select(Step).order_by(Step.id.desc())).first()
            assert step is not None
            assert (step.action, step.reward, step.done, step.forced) == (0, 1.5, True, False)
            assert step.action_probabilities == [0.25, 0.75]
            assert step.p_chosen is None
            values = session.scalars(
                select(LearningSignal.value).where(LearningSignal.job_id == columns["job_id"]).order_by("step_id")
            )
            np.testing.assert_array_equal(list(values), columns["value"])

    def test_rows_and_columns_store_the_same(self, record: Record) -> None:
        with record.session() as session:
            columns = learning_signals(session, 3)
            ids = list(map(int, columns["step_id"]))
            shared = {"job_id": columns["job_id"], "signal_id": columns["signal_id"]}
            values = [np.float32(0.5), float("nan"), None]
            insert_rows(
                session,
                LearningSignal,
                [{**shared, "step_id": np.int64(s), "value": v} for s, v in zip(ids, values, strict=True)],
            )
            stored = select(LearningSignal.value).where(LearningSignal.job_id == columns["job_id"]).order_by("step_id")
            assert session.scalars(stored).all() == [0.5, None, None]
            session.execute(text("DELETE FROM learning_signal"))
            series = pd.Series([0.5, np.nan, None])
            insert_columns(session, LearningSignal, {**shared, "step_id": ids, "value": series})
            assert session.scalars(stored).all() == [0.5, None, None]

    def test_what_is_known_of_many_latents(self, record: Record) -> None:
        with record.session() as session:
            fill(session)
            known = session.scalars(select(LatentPredicate)).one()
            latents = np.arange(10, 13)
            of_sae = {"job_id": known.job_id, "sae_id": known.sae_id, "latent": latents}
            scores = {"f1": 0.5, "precision": [0.5, 0.25, 1.0], "recall": 0.5, "f1_heldout": [0.5, np.nan, None]}
            counts = {"n_true": 4, "n_fired": [4, 8, 2], "matched_pairs": [None, 7, None]}
            about = {"model_id": known.model_id, "source": "sae", "block": 1, "predicate": "at_1", "family": "at"}
            insert_columns(session, LatentPredicate, of_sae | about | scores | counts)
            insert_columns(session, LatentMeasure, of_sae | {"name": "flip_rate", "value": [0.0, np.nan, 1.0]})
            effects = [[0.5, -0.25], [0.0, 0.0], [1.0, 2.0]]
            insert_columns(session, LatentExample, of_sae | {"rank": 0, "state": 2, "value": 1.5, "q_effect": effects})
        with record.session(read_only=True) as session:
            found = session.scalars(
                select(LatentPredicate).where(LatentPredicate.latent >= 10).order_by(LatentPredicate.latent)
            ).all()
            assert [(one.precision, one.f1_heldout, one.matched_pairs) for one in found] == [
                *((0.5, 0.5, None), (0.25, None, 7), (1.0, None, None))
            ]
            flips = select(LatentMeasure.value).where(LatentMeasure.latent >= 10).order_by(LatentMeasure.latent)
            assert session.scalars(flips).all() == [0.0, None, 1.0]
            shown = select(LatentExample.q_effect).where(LatentExample.latent >= 10).order_by(LatentExample.latent)
            assert session.scalars(shown).all() == effects

    def test_bulk_inserts_refuse_mistakes(self, record: Record) -> None:
        with record.session() as session:
            columns = learning_signals(session, 3)
            with pytest.raises(ValueError, match="LearningSignal has no valeu"):
                insert_columns(session, LearningSignal, {"valeu": [1.0]})
            with pytest.raises(ValueError, match="one length"):
                insert_columns(session, LearningSignal, columns | {"value": [1.0, 2.0]})
            with pytest.raises(ValueError, match="one length"):
                insert_columns(session, LearningSignal, columns | {"step_id": 1, "value": 1.0})
            with pytest.raises(ValueError, match="same keys"):
                insert_rows(session, LearningSignal, [{"value": 1.0}, {"job_id": 2}])
            with pytest.raises(TypeError):
                insert_columns(session, LearningSignal, columns | {"step_id": [1.5, 2.5, 3.5]})
            insert_rows(session, LearningSignal, [])
            insert_columns(session, LearningSignal, {"step_id": [], "value": np.array([])})

    @pytest.mark.parametrize("changes", [{"step_id": [10**6]}, {"job_id": None, "step_id": [1]}])
    def test_bulk_inserts_keep_constraints(self, record: Record, changes: dict[str, Any]) -> None:
        with pytest.raises(IntegrityError), record.session() as session:
            columns = learning_signals(session, 1)
            insert_columns(session, LearningSignal, columns | changes)

    def test_new_ids_are_nobody_elses(self, record: Record) -> None:
        with record.session() as session:
            fill(session)
            taken = set(session.scalars(select(Step.id)))
            first, second = new_ids(session, Step, 50), new_ids(session, Step, 0)
            assert len(set(first) - taken) == 50 and first == sorted(first) and second == []
            more = steps(session, first)
            insert_columns(session, Step, more)
            by_database = Step(**{name: value for name, value in more.items() if name != "id"} | {"index": 99})
            session.add(by_database)
            session.flush()
            assert by_database.id not in {*first, *taken}

    def test_a_bulk_insert_is_a_few_statements_however_many_its_rows(self, record: Record) -> None:
        sent: list[str] = []

        def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            sent.append(statement)

        event.listen(record.engine, "before_cursor_execute", note)
        try:
            with record.session() as session:
                columns = learning_signals(session, 50_000)
                before = len(sent)
                insert_columns(session, LearningSignal, columns)
                assert len(sent) - before <= 50
                found = select(func.count()).where(LearningSignal.job_id == columns["job_id"])
                assert session.scalar(found) == 50_000
        finally:
            event.remove(record.engine, "before_cursor_execute", note)
