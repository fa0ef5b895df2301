"""Fixtures for tests that need a record, each on SQLite and on PostgreSQL.

`settings` names an empty database of the test's own, `record` is an open one with its schema. PostgreSQL's
server is TDLENS_TEST_POSTGRES (default: the superuser postgres on this machine); without one its tests are
skipped, or fail when TDLENS_REQUIRE_POSTGRES=1.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import inspect, make_url, text

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


@contextmanager
def emptied(settings: Settings) -> Iterator[Record]:
    """The record on a PostgreSQL database that has the schema, without the rows that were there."""
    opened = Record.open(settings)
    with opened.engine.begin() as connection:
        for name in filter(PARTITION.fullmatch, inspect(connection).get_table_names()):
            connection.execute(text(f"DROP TABLE {name}"))
        tables = ", ".join(f'"{table}"' for table in Base.metadata.tables)
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY"))
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Record]:
    """An open record without rows. A test that changes the schema itself takes `settings` instead."""
    if request.param == "sqlite":
        opened = Record.open(sqlite_settings(tmp_path / "home"))
        yield opened
        opened.close()
        return
    with emptied(Settings(tmp_path / "home", request.getfixturevalue("migrated_postgres"))) as shared:
        yield shared
