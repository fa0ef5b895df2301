"""What holds of SQLite alone: its file, its one write lock, its disk."""

from pathlib import Path

import pytest
from sqlalchemy import text

from tdlens.errors import DatabaseBusy, DiskFull, SchemaMismatch, Unreachable
from tdlens.record import Record
from tdlens.record.migrate import check
from tdlens.record.query import query
from tdlens.testing.rows import make_job
from tests.databases import sqlite_settings


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


def test_check_without_a_record_makes_nothing(tmp_path: Path) -> None:
    settings = sqlite_settings(tmp_path / "home")
    with pytest.raises(SchemaMismatch, match="tdlens db upgrade"):
        check(settings)
    assert list(tmp_path.iterdir()) == []


def test_a_query_without_a_record_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatch, match="no record"):
        query(sqlite_settings(tmp_path), "SELECT 1")
    assert list(tmp_path.iterdir()) == []


def test_file_that_is_no_database(tmp_path: Path) -> None:
    settings = sqlite_settings(tmp_path)
    (tmp_path / "tdlens.db").write_text("not a database at all, but long enough to be read as one" * 100)
    with pytest.raises(Unreachable, match="isn't an intact SQLite database"):
        Record.open(settings)


def test_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(Unreachable, match="home"):
        Record.open(sqlite_settings(tmp_path / "home"))
