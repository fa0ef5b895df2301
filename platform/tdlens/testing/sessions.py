"""Transactions, moments, constraints, revisions of studies."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from tdlens.errors import Unreachable
from tdlens.record import Job, Record, Step, Study, current_study
from tdlens.testing.backend import Backend
from tdlens.testing.rows import fill, make_job


class SessionTests(Backend):
    """One transaction a session."""

    def test_an_exception_rolls_back(self, record: Record) -> None:
        with pytest.raises(ZeroDivisionError), record.session() as session:
            make_job(session, "a")
            raise ZeroDivisionError
        with record.session(read_only=True) as session:
            assert session.scalars(select(Job)).all() == []

    def test_a_read_only_session_refuses_to_write(self, record: Record) -> None:
        with (
            pytest.raises((DBAPIError, Unreachable), match=r"read.?only"),
            record.session(read_only=True) as session,
        ):
            make_job(session, "a")
        with record.session() as session:
            make_job(session, "a")

    def test_moments_are_utc_and_need_a_time_zone(self, record: Record) -> None:
        moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
        with record.session() as session:
            make_job(session, "a", state="done", lease_until=None, finished_at=moment)
        with record.session(read_only=True) as session:
            job = session.scalars(select(Job)).one()
            assert job.finished_at == moment
            assert job.started_at is not None and job.started_at.tzinfo is not None
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
    def test_a_jobs_state_is_consistent(self, record: Record, changes: dict[str, Any]) -> None:
        with pytest.raises(IntegrityError), record.session() as session:
            make_job(session, "a", **changes)

    def test_deleting_a_job_takes_what_it_made_unless_another_job_uses_it(self, record: Record) -> None:
        with record.session() as session:
            fill(session)
        with pytest.raises(IntegrityError), record.session() as session:
            session.execute(text("DELETE FROM job WHERE identity = 'a'"))
        with record.session() as session:
            session.execute(text("DELETE FROM job WHERE identity = 'b'"))
            session.execute(text("DELETE FROM job WHERE identity = 'a'"))
            assert session.scalar(select(func.count()).select_from(Step)) == 0

    def test_study_revisions(self, record: Record) -> None:
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

    def test_only_one_revision_can_be_current(self, record: Record) -> None:
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
