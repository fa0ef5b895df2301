"""Transactions, shared rows and bulk inserts."""

import multiprocessing
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from tdlens.errors import DatabaseBusy, DiskFull, Unreachable
from tdlens.record import (
    Episode,
    Job,
    LearningSignal,
    Record,
    Signal,
    Step,
    Study,
    current_study,
    find_or_create,
    insert_columns,
    insert_rows,
    new_ids,
)
from tdlens.settings import Settings
from tests.databases import sqlite_settings
from tests.record.rows import fill, make_job


def test_an_exception_rolls_back(record: Record) -> None:
    with pytest.raises(ZeroDivisionError), record.session() as session:
        make_job(session, "a")
        raise ZeroDivisionError
    with record.session(read_only=True) as session:
        assert session.scalars(select(Job)).all() == []


def test_a_read_only_session_refuses_to_write(record: Record) -> None:
    with (
        pytest.raises((DBAPIError, Unreachable), match=r"read.?only"),
        record.session(read_only=True) as session,
    ):
        make_job(session, "a")
    with record.session() as session:
        make_job(session, "a")


def test_moments_are_utc_and_need_a_time_zone(record: Record) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    with record.session() as session:
        make_job(session, "a", state="done", lease_until=None, finished_at=moment)
    with record.session(read_only=True) as session:
        job = session.scalars(select(Job)).one()
        assert job.finished_at == moment
        assert job.started_at.tzinfo is not None
    with pytest.raises(Exception, match="time zone"), record.session() as session:
        make_job(session, "b", state="done", lease_until=None, finished_at=moment.replace(tzinfo=None))


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "running", "lease_until": None},
        {"state": "done", "lease_until": None},
        {"finished_at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"lease_until": None},
        {"state": "lost"},
    ],
    ids=["unknown state", "done without end", "leased with end", "leased without lease", "lost with lease"],
)
def test_a_jobs_state_is_consistent(record: Record, changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError), record.session() as session:
        make_job(session, "a", **changes)


def test_deleting_a_job_takes_what_it_made_unless_another_job_uses_it(record: Record) -> None:
    with record.session() as session:
        fill(session)
    with pytest.raises(IntegrityError), record.session() as session:
        session.execute(text("DELETE FROM job WHERE identity = 'a'"))
    with record.session() as session:
        session.execute(text("DELETE FROM job WHERE identity = 'b'"))
        session.execute(text("DELETE FROM job WHERE identity = 'a'"))
        assert session.scalar(select(func.count()).select_from(Step)) == 0


def test_study_revisions(record: Record) -> None:
    def register(title: str, **config: int) -> tuple[int, str]:
        with record.session() as session:
            study = current_study(session, name="demo", title=title, config=config)
            return study.revision, study.title

    def current() -> list[int]:
        with record.session(read_only=True) as session:
            return list(session.scalars(select(Study.revision).where(Study.is_current)))

    assert register("one", seed=1) == (1, "one")
    assert register("two", seed=2) == (2, "two")
    assert current() == [2]
    assert register("one again", seed=1) == (1, "one again")
    assert current() == [1]
    with record.session() as session:
        assert current_study(session, name="other", title="", config={}).revision == 1


def test_only_one_revision_can_be_current(record: Record) -> None:
    with pytest.raises(IntegrityError), record.session() as session:
        for revision in (1, 2):
            session.add(
                Study(
                    name="x",
                    revision=revision,
                    title="",
                    config={},
                    config_hash=str(revision),
                    is_current=True,
                )
            )


def _find(settings: Settings, barrier: object, ids: object) -> None:
    record = Record.open(settings)
    barrier.wait()  # type: ignore[attr-defined]
    with record.session() as session:
        current_study(session, name="demo", title="", config={})
        found = find_or_create(
            session,
            Signal,
            {"name": "td_error", "parameters_hash": "h"},
            agent="q",
            parameters={},
            description="",
        )
        time.sleep(0.1)
        ids.put(found.id)  # type: ignore[attr-defined]


def test_shared_rows_are_made_once(record: Record) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, ids = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_find, args=(record.settings, barrier, ids)) for _ in range(2)]
    for process in processes:
        process.start()
    found = {ids.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(found) == 1
    assert record.query("SELECT revision FROM v_study").revision.tolist() == [1]


def test_a_locked_database_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tdlens.record.engine.SQLITE_WAIT", 0.1)
    record = Record.open(sqlite_settings(tmp_path))
    other = Record.open(sqlite_settings(tmp_path))
    with record.session() as session:
        make_job(session, "a")
        with pytest.raises(DatabaseBusy, match="locked by another process"), other.session() as second:
            make_job(second, "b")


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    record = Record.open(sqlite_settings(tmp_path))
    with pytest.raises(DiskFull, match="disk is full"), record.session() as session:
        pages = session.scalar(text("PRAGMA page_count"))
        session.execute(text(f"PRAGMA max_page_count = {pages}"))
        for number in range(1000):
            make_job(session, str(number))


def test_a_server_that_goes_away_is_named(record: Record) -> None:
    if record.settings.sqlite_path:
        pytest.skip("PostgreSQL only")
    with pytest.raises(Unreachable, match="can't be reached"), record.session() as session:
        mine = session.scalar(text("SELECT pg_backend_pid()"))
        with record.session() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": mine})
        make_job(session, "a")
    with record.session() as session:
        make_job(session, "a")


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


def test_bulk_inserts_store_plain_values(record: Record) -> None:
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


def test_rows_and_columns_store_the_same(record: Record) -> None:
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


def test_bulk_inserts_refuse_mistakes(record: Record) -> None:
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
def test_bulk_inserts_keep_constraints(record: Record, changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError), record.session() as session:
        columns = learning_signals(session, 1)
        insert_columns(session, LearningSignal, columns | changes)


def test_new_ids_are_nobody_elses(record: Record) -> None:
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


def test_bulk_insert_speed(record: Record) -> None:
    """A floor far below what a quiet machine does, so that only a change of method can break it."""
    n = 50_000
    with record.session() as session:
        columns = learning_signals(session, n)
        began = time.process_time(), time.perf_counter()
        insert_columns(session, LearningSignal, columns)
        rate = n / (time.perf_counter() - began[1])
        print(f"{record.engine.dialect.name}: {rate:,.0f} rows/s")
    assert rate > 20_000
