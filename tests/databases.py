"""Fixtures for tests that need a record, each on SQLite and on PostgreSQL.

`settings` names an empty database of the test's own, `record` is an open one with its schema. PostgreSQL's
server is TDLENS_TEST_POSTGRES (default: the superuser postgres on this machine); without one its tests are
skipped, or fail when TDLENS_REQUIRE_POSTGRES=1.
"""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, text

from tdlens.record import Base, Record
from tdlens.record.migrate import upgrade
from tdlens.record.partitions import PARTITION
from tdlens.settings import Settings

SERVER = make_url(os.environ.get("TDLENS_TEST_POSTGRES") or "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")


@cache
def postgres_problem() -> str | None:
    """Why PostgreSQL can't be used here, or None when it can."""
    try:
        _administer("SELECT 1")
    except psycopg.OperationalError as error:
        return f"no PostgreSQL at {SERVER.render_as_string()}: {str(error).strip()}"
    return None


def require_postgres() -> None:
    problem = postgres_problem()
    if problem is None:
        return
    if os.environ.get("TDLENS_REQUIRE_POSTGRES") == "1":
        pytest.fail(problem)
    pytest.skip(problem)


@contextmanager
def temporary_database(*, durable: bool = False) -> Iterator[str]:
    """Address of a new PostgreSQL database, dropped at the end; it waits for the disk only if it must be `durable`."""
    name = f"tdlens_test_{uuid.uuid4().hex[:12]}"
    _administer(f"CREATE DATABASE {name}")
    if not durable:
        _administer(f"ALTER DATABASE {name} SET synchronous_commit = off")
    try:
        yield SERVER.set(database=name).render_as_string(hide_password=False)
    finally:
        _administer(f"DROP DATABASE {name} WITH (FORCE)")


def _administer(statement: str) -> None:
    address = SERVER.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True, connect_timeout=5) as connection:
        connection.execute(statement.encode())


def sqlite_settings(home: Path) -> Settings:
    return Settings.from_environment({"TDLENS_HOME": str(home)})


@cache
def _migrated_file() -> bytes:
    """A SQLite file with the schema and no row."""
    with tempfile.TemporaryDirectory() as folder:
        made = sqlite_settings(Path(folder))
        upgrade(made)
        assert made.sqlite_path is not None
        return made.sqlite_path.read_bytes()


def empty_sqlite(home: Path) -> Settings:
    """A database in a home of its own that has the schema: a copy, as migrations take longer than many a test."""
    settings = sqlite_settings(home)
    assert settings.sqlite_path is not None
    home.mkdir(parents=True, exist_ok=True)
    settings.sqlite_path.write_bytes(_migrated_file())
    return settings


@pytest.fixture(scope="session")
def migrated_postgres() -> Iterator[str]:
    """Address of a PostgreSQL database with the schema; tests share it, emptied, as making one is slow."""
    require_postgres()
    with temporary_database() as address:
        upgrade(Settings(Path("unused"), address))
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """An empty database and an empty home."""
    if request.param == "sqlite":
        yield sqlite_settings(tmp_path / "home")
        return
    require_postgres()
    with temporary_database() as address:
        yield Settings(tmp_path / "home", address)


SIZES = """
SELECT relname, pg_relation_size(oid) FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
"""
RESTART = """
SELECT setval(format('%I', sequencename)::regclass, start_value, false) FROM pg_sequences
WHERE schemaname = current_schema()
"""
SMALL = 1 << 22
"""Bytes of a table whose rows are deleted quicker one by one than all at once, for which PostgreSQL makes new files."""


@contextmanager
def emptied(settings: Settings) -> Iterator[Record]:
    """The record on a PostgreSQL database that has the schema, without the rows that were there."""
    opened = Record.open(settings)
    with opened.engine.begin() as connection:
        sizes = {name: size for name, size in connection.execute(text(SIZES))}
        for name in filter(PARTITION.fullmatch, sizes):
            connection.execute(text(f"DROP TABLE {name}"))
        tables = [table.name for table in reversed(Base.metadata.sorted_tables)]
        if max(sizes.get(name, 0) for name in tables) > SMALL:
            connection.execute(text("TRUNCATE " + ", ".join(f'"{name}"' for name in tables)))
        for name in tables:
            if sizes.get(name):
                connection.execute(text(f'DELETE FROM "{name}"'))  # noqa: S608
        connection.execute(text(RESTART))
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Record]:
    """An open record without rows. A test that changes the schema itself takes `settings` instead."""
    if request.param == "sqlite":
        opened = Record.open(empty_sqlite(tmp_path / "home"))
        yield opened
        opened.close()
        return
    with emptied(Settings(tmp_path / "home", request.getfixturevalue("migrated_postgres"))) as shared:
        yield shared
