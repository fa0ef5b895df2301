"""Migrations as SQL: what can be asked for. What the scripts do is tested with each database."""

import io
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from typer.testing import CliRunner, Result

from jobs.cli import app
from tdlens.errors import UserError
from tdlens.record.migrate import downgrade, migrations_folder, revisions, upgrade
from tdlens.record.migration_script import PROGRAMS, render
from tdlens.testing.catalog import execute
from tests.databases import sqlite_settings

ORDER = ["base", *revisions()]
STEPS = [*pairwise(ORDER), *pairwise(ORDER[::-1]), ("base", "head"), ("head", "base")]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("TDLENS_DATABASE_URL", "TDLENS_BLOBS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TDLENS_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"


def script(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["db", "script", *arguments])


@pytest.mark.parametrize("dialect", PROGRAMS)
@pytest.mark.parametrize(("start", "end"), STEPS)
def test_each_step_is_one_transaction_and_says_how_to_run_it(dialect: str, start: str, end: str) -> None:
    sql = render(dialect, start, end)
    named = [name.replace("head", ORDER[-1]) for name in (start, end)]
    assert f"schema {' to '.join(named)}, {dialect}" in sql.splitlines()[0] and PROGRAMS[dialect] in sql.splitlines()[1]
    lines = sql.splitlines()
    assert (lines.count("BEGIN;"), lines.count("COMMIT;")) == (1, 1)
    assert ("pg_advisory_xact_lock" in sql) == (dialect == "postgresql")
    assert ("PRAGMA foreign_keys = OFF;" in lines[: lines.index("BEGIN;")]) == (dialect == "sqlite")
    assert "%%" not in sql and "%(" not in sql and "VALUES (?" not in sql


@pytest.mark.parametrize(
    ("dialect", "start", "end", "said"),
    [
        ("oracle", "base", "head", "sqlite, postgresql"),
        ("sqlite", "base", "9999", ", ".join(ORDER)),
        ("sqlite", "", "head", ", ".join(ORDER)),
        ("sqlite", "head", ORDER[-1], "nothing to do"),
    ],
)
def test_mistakes_are_named(dialect: str, start: str, end: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        render(dialect, start, end)


def test_the_command_prints_what_the_record_lacks(home: Path) -> None:
    settings = sqlite_settings(home)
    asked = script()
    assert asked.exit_code == 0 and asked.stdout == render("sqlite", "base", "head") and not home.exists()
    upgrade(settings)
    asked = script()
    assert asked.exit_code == 2 and "nothing to do" in asked.stderr
    downgrade(settings, ORDER[1])
    assert script().stdout == render("sqlite", ORDER[1], "head")
    assert script("--dialect", "postgresql").stdout == render("postgresql", ORDER[1], "head")
    assert script("head:base").stdout == render("sqlite", "head", "base")
    assert script("head").exit_code == 2
    execute(settings, "UPDATE tdlens_version SET version_num = '9999'")
    assert "Update tdlens" in script().stderr


def test_a_command_that_names_its_revisions_asks_no_database(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDLENS_DATABASE_URL", "postgresql://me:secret@127.0.0.1:1/nothing")
    asked = script("base:head")
    assert asked.exit_code == 0 and asked.stdout == render("postgresql", "base", "head")


def test_alembic_by_hand_writes_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What developers type: `alembic upgrade head --sql` with alembic.ini."""
    config = Config(migrations_folder().parent / "alembic.ini", output_buffer=io.StringIO())
    command.upgrade(config, "head", sql=True)
    assert isinstance(config.output_buffer, io.StringIO)
    assert render("sqlite", "base", "head").endswith(config.output_buffer.getvalue())


def test_alembic_by_hand_uses_the_environment(home: Path) -> None:
    """What developers type: `alembic upgrade head` with alembic.ini."""
    home.mkdir()
    command.upgrade(Config(migrations_folder().parent / "alembic.ini"), "head")
    assert (home / "tdlens.db").exists()
    command.check(Config(migrations_folder().parent / "alembic.ini"))
