"""The step before all others, on a real server: roles and databases, made once and put right again."""

import os
import runpy
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.databases import SERVER, require_postgres

MIGRATE = Path(__file__).parents[2] / "docker" / "migrate.py"
Server = psycopg.Connection[tuple[Any, ...]]
Prepare = Callable[[Server, str, str], None]


@pytest.fixture
def prepare() -> Prepare:
    found: Prepare = runpy.run_path(str(MIGRATE))["prepare"]
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    require_postgres()
    address = SERVER.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True) as connection:
        yield connection


@pytest.fixture
def names(server: Server) -> Iterator[tuple[str, str]]:
    """Of two roles and databases, gone at the end."""
    made = (f"tdlens_test_{uuid.uuid4().hex[:12]}", f"tdlens_test_{uuid.uuid4().hex[:12]}")
    yield made
    for name in made:
        server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        server.execute(f"DROP ROLE IF EXISTS {name}".encode())


def ask(server: Server, query: str, *values: str) -> Any:
    row = server.execute(query.encode(), values).fetchone()
    return None if row is None else row[0]


def stored(server: Server, name: str) -> str:
    return str(ask(server, "SELECT rolpassword FROM pg_authid WHERE rolname = %s", name))


def test_each_role_owns_a_database_that_the_other_may_not_enter(
    server: Server, prepare: Prepare, names: tuple[str, str]
) -> None:
    for name in names:
        prepare(server, name, "it's/100%\"@:é")
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s"
    may_enter = "SELECT has_database_privilege(%s, %s, 'CONNECT')"
    for mine, theirs in (names, names[::-1]):
        assert ask(server, owner, mine) == mine
        assert ask(server, may_enter, mine, mine) and not ask(server, may_enter, mine, theirs)
        assert not ask(server, "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = %s", mine)
        assert stored(server, mine).startswith("SCRAM-SHA-256$")


@pytest.mark.parametrize("done", [("CREATE ROLE {}",), ("CREATE ROLE {} LOGIN", "CREATE DATABASE {} OWNER {}")])
def test_what_an_interrupted_start_left_is_completed_and_nothing_is_lost(
    server: Server, prepare: Prepare, names: tuple[str, str], done: tuple[str, ...]
) -> None:
    name = names[0]
    for statement in done:
        server.execute(statement.format(name, name).encode())
    before = ask(server, "SELECT oid FROM pg_database WHERE datname = %s", name)
    prepare(server, name, "first")
    first = stored(server, name)
    oid = ask(server, "SELECT oid FROM pg_database WHERE datname = %s", name)
    assert before in (None, oid) and ask(server, "SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", name)
    prepare(server, name, "second")
    assert stored(server, name) != first
    assert ask(server, "SELECT oid FROM pg_database WHERE datname = %s", name) == oid


def test_both_schemas_are_made_under_one_lock_and_the_first_failure_ends_it(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    module = runpy.run_path(str(MIGRATE))
    says = "import os; print(os.environ['PGPASSWORD'])"
    upgrades = {"tdlens": (sys.executable, "-c", says), "mlflow": (sys.executable, "-c", f"{says}; exit(3)")}
    held: list[Any] = []
    lock = uuid.uuid4().int % 2**62  # other test runs may use the server

    def prepare(connection: Server, name: str, password: str) -> None:
        free = "SELECT pg_try_advisory_lock(%s)"
        held.append((name, password, ask(server, free, str(lock))))

    known = {"UPGRADES": upgrades, "prepare": prepare, "LOCK": lock}
    connect = psycopg.connect
    here = SERVER.set(drivername="postgresql").render_as_string(hide_password=False)
    monkeypatch.setattr(psycopg, "connect", lambda *_, **options: connect(here, autocommit=options["autocommit"]))
    for variable in ("POSTGRES_PASSWORD", "TDLENS_DB_PASSWORD", "MLFLOW_DB_PASSWORD"):
        monkeypatch.setenv(variable, variable.lower())
    module["main"].__globals__.update(known)
    assert module["main"]() == 3
    assert held == [("tdlens", "tdlens_db_password", False), ("mlflow", "mlflow_db_password", False)]
    assert capfd.readouterr().out.split() == ["tdlens_db_password", "mlflow_db_password"]
    server.execute("SET lock_timeout = '60s'")  # its holder's connection needs a moment to end
    ask(server, "SELECT pg_advisory_lock(%s)", str(lock))


def test_another_superuser_password_is_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: object) -> None:
        raise psycopg.OperationalError("password authentication failed")

    monkeypatch.setattr(psycopg, "connect", refuse)
    monkeypatch.setitem(os.environ, "POSTGRES_PASSWORD", "changed")
    assert runpy.run_path(str(MIGRATE))["main"]() == 2
    said = capsys.readouterr().err
    assert "authentication failed" in said and "that of the volume's first start" in said
