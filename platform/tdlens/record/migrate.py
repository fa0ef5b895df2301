"""How the schema comes to be: Alembic migrations, the only way."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

import tdlens
from tdlens.errors import SchemaMismatch, Unreachable, UserError
from tdlens.provenance import source_root
from tdlens.record.base import Base
from tdlens.record.engine import READ_ONLY, clear_errors, make_engine
from tdlens.record.partitions import PARTITION
from tdlens.settings import Settings

VERSION_TABLE = "tdlens_version"
"""Not Alembic's own name, which MLflow uses for its database."""


def _whole_table(name: str | None, kind: str, parents: Any) -> bool:
    """Whether Alembic should compare it: partitions come and go without migrations."""
    return kind != "table" or name is None or PARTITION.fullmatch(name) is None


OPTIONS: dict[str, Any] = {
    "include_name": _whole_table,
    "target_metadata": Base.metadata,
    "version_table": VERSION_TABLE,
    "render_as_batch": True,
    "compare_type": True,
    "compare_server_default": True,
}
"""How Alembic compares and migrates, here and in migrations/env.py."""

LOCK = 7_445_010_801
"""Key of the PostgreSQL advisory lock that migrations hold; any number that no other program uses."""


def upgrade(settings: Settings, revision: str = "head") -> None:
    """Brings the schema to `revision` in one transaction; several processes may do this at once.

    Raises:
        SchemaMismatch: the schema is newer than this version of tdlens.
        UserError: the database belongs to another program.
        Unreachable, DiskFull: as their names say.
    """
    with _migrating(settings) as (connection, config):
        _refuse_foreign(connection, settings)
        refuse_newer(_revision(connection), settings)
        command.upgrade(config, revision)


def downgrade(settings: Settings, revision: str) -> None:
    """Takes the schema back to `revision` (`base`: no tables at all); what only newer tables hold is lost."""
    with _migrating(settings) as (connection, config):
        refuse_newer(_revision(connection), settings)
        command.downgrade(config, revision)


def check(settings: Settings) -> str:
    """The database's revision when it is the one this version of tdlens works with.

    Raises:
        SchemaMismatch: there is no schema, an older or a newer one.
        Unreachable: the database can't be opened.
    """
    found = current_revision(settings)
    refuse_newer(found, settings)
    head = _scripts().get_current_head()
    if found is None:
        raise SchemaMismatch(f"There is no record at {settings.database}.", "Make it: tdlens db upgrade")
    if found != head:
        raise SchemaMismatch(
            f"The record at {settings.database} has schema {found}, and tdlens {tdlens.__version__} needs {head}.",
            "Back it up and bring it up to date: tdlens db upgrade",
        )
    return found


def current_revision(settings: Settings) -> str | None:
    """The schema's revision, or None where there is no record; makes nothing."""
    if settings.sqlite_path is not None and not settings.sqlite_path.exists():
        return None
    engine = make_engine(settings)
    try:
        with clear_errors(settings), engine.execution_options(**READ_ONLY).connect() as connection:
            return _revision(connection)
    finally:
        engine.dispose()


def drift(settings: Settings) -> list[Any]:
    """Differences between the migrated schema and the models; empty unless a migration is missing."""
    engine = make_engine(settings)
    try:
        with clear_errors(settings), engine.connect() as connection:
            return list(compare_metadata(MigrationContext.configure(connection, opts=OPTIONS), Base.metadata))
    finally:
        engine.dispose()


def migrations_folder() -> Path:
    """Alembic's folder: at the top of a source checkout, inside the package when that is installed."""
    root = source_root()
    return root / "migrations" if root is not None else Path(__file__).resolve().parents[1] / "migrations"


def alembic_config() -> Config:
    """Alembic's configuration, for its own commands on the environment's record."""
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def revisions() -> list[str]:
    """All revisions of the schema, the oldest first."""
    return [script.revision for script in _scripts().walk_revisions()][::-1]


@cache  # to read them takes longer than to open a record
def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(alembic_config())


@contextmanager
def _migrating(settings: Settings) -> Iterator[tuple[Connection, Config]]:
    """One transaction that no other migration runs beside."""
    if settings.sqlite_path is not None:
        _make_folder(settings.sqlite_path.parent)
    engine = make_engine(settings, foreign_keys=False)
    try:
        with clear_errors(settings), engine.begin() as connection:
            # SQLite's BEGIN IMMEDIATE is such a lock already.
            if settings.sqlite_path is None:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            config = alembic_config()
            config.attributes["connection"] = connection
            yield connection, config
            if settings.sqlite_path is not None:
                _check_references(connection)
    finally:
        engine.dispose()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unreachable(
            f"The folder {folder} can't be made: {error.strerror}.", "Set TDLENS_HOME to a folder of yours."
        ) from error


def _check_references(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        raise RuntimeError(f"the migration left rows that refer to nothing: {broken[:3]}")


def _revision(connection: Connection) -> str | None:
    options = {"version_table": VERSION_TABLE}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def refuse_newer(found: str | None, settings: Settings) -> None:
    """Raises SchemaMismatch if a database's revision is one that this tdlens doesn't know."""
    if found is not None and found not in revisions():
        raise SchemaMismatch(
            f"The record at {settings.database} has schema {found}, made by a newer version than this tdlens "
            f"{tdlens.__version__}.",
            "Update tdlens, or set TDLENS_HOME or TDLENS_DATABASE_URL to another record.",
        )


def _refuse_foreign(connection: Connection, settings: Settings) -> None:
    tables = inspect(connection).get_table_names()
    if "alembic_version" in tables and VERSION_TABLE not in tables:
        raise UserError(
            f"{settings.database} is another program's database (perhaps MLflow's).",
            "Give tdlens a database of its own in TDLENS_DATABASE_URL.",
        )
