"""What holds of PostgreSQL alone: its server, its locks, its functions with side effects."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from tdlens.errors import Unreachable
from tdlens.record import Record, leases
from tdlens.record.migrate import check
from tdlens.settings import Settings
from tdlens.testing.rows import make_job
from tdlens.testing.units import PROVENANCE, claimed, let_expire, plan, unit
from tests.databases import emptied


@pytest.fixture
def record(tmp_path: Path, migrated_postgres: str) -> Iterator[Record]:
    with emptied(Settings(tmp_path / "home", migrated_postgres)) as opened:
        yield opened


def test_a_server_that_goes_away_is_named(record: Record) -> None:
    with pytest.raises(Unreachable, match="can't be reached"), record.session() as session:
        mine = session.scalar(text("SELECT pg_backend_pid()"))
        with record.session() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": mine})
        make_job(session, "a")
    with record.session() as session:
        make_job(session, "a")


def test_side_effects_of_functions_are_rolled_back(record: Record) -> None:
    """A read-only transaction may make large objects; nothing we run is ever committed."""
    record.query("SELECT lo_create(0)")
    assert record.query("SELECT count(*) AS n FROM pg_largeobject_metadata").n.item() == 0


def test_unreachable_server(tmp_path: Path) -> None:
    settings = Settings(tmp_path, "postgresql+psycopg://me:secret@127.0.0.1:1/nothing")
    with pytest.raises(Unreachable, match="can't be reached") as caught:
        Record.open(settings)
    assert "TDLENS_DATABASE_URL" in caught.value.remedy
    assert "secret" not in str(caught.value)


def test_unreachable_database_of_a_running_server(record: Record) -> None:
    url = record.settings.url.set(database="tdlens_no_such_database")
    with pytest.raises(Unreachable, match='"tdlens_no_such_database" does not exist'):
        check(replace(record.settings, database_url=url.render_as_string(hide_password=False)))


@pytest.mark.parametrize("word", ["claim", "publish"])
def test_a_claim_passes_over_what_another_transaction_holds(record: Record, word: str) -> None:
    """Also over an expired unit that is being published: nobody waits, nor takes it."""
    study_id = plan(record, unit("a"), unit("b"))
    late = None
    if word == "publish":
        late = claimed(record, study_id, "late")
        let_expire(record, late)
    with record.session() as session:
        if late is not None:
            leases.publish(session, late)
        else:
            late = leases.claim(session, study_id, "late", provenance=PROVENANCE)
        with record.session() as other:
            other.execute(text("SET LOCAL lock_timeout = '10s'"))
            second = leases.claim(other, study_id, "other", provenance=PROVENANCE)
    assert late is not None and late.identity == "a"
    assert second is not None and (second.identity, second.attempt) == ("b", 1)
