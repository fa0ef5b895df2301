"""Connections to the record on SQLite and PostgreSQL, and clear messages when they fail."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tdlens.errors import DatabaseBusy, DiskFull, Unreachable, UserError
from tdlens.settings import Settings

READ_ONLY = {"tdlens_read_only": True, "postgresql_readonly": True}
"""Execution options of a connection that only reads."""

SQLITE_WAIT = 60
"""Seconds to wait for another process's transaction; ours are short, but a slow disk isn't."""


def make_engine(settings: Settings, *, foreign_keys: bool = True) -> Engine:
    """An engine for the record; connects at first use.

    On SQLite every transaction is a writer's from its start (BEGIN IMMEDIATE), so that two writers wait for
    each other and never deadlock, unless the connection has the options `READ_ONLY`.

    Args:
        foreign_keys: False only for migrations, which on SQLite rebuild tables that others refer to.
    """
    if settings.sqlite_path is None:
        return _postgresql_engine(settings)
    engine = create_engine(settings.url, connect_args={"timeout": SQLITE_WAIT})

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: Any) -> None:
        # Python's sqlite3 would begin transactions by its own rules; `begin` below does it instead.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")  # readers don't wait for the writer
        # A lost last commit costs a recomputation, never consistency: files are published before their rows.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("tdlens_read_only", False)
        connection.exec_driver_sql(f"PRAGMA query_only = {int(read_only)}")
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


SILENCE = 300
"""Seconds after which PostgreSQL ends a transaction whose process says nothing, and frees what that had locked."""
_PATIENCE = f"-c idle_in_transaction_session_timeout={SILENCE}s"
# A machine that is gone says no farewell: without these either side would wait for the other for hours.
_KEEPALIVE = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
_OUR_KEEPALIVE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}


def postgresql_arguments(settings: Settings) -> dict[str, Any]:
    """Connection arguments besides the address. Moments are UTC; a server that's gone is noticed within a minute."""
    options = f"{_PATIENCE} {_KEEPALIVE} {settings.url.query.get('options', '')} -c timezone=UTC"
    return {"connect_timeout": 10, "application_name": "tdlens", "options": options} | _OUR_KEEPALIVE


def connect_postgresql(settings: Settings) -> psycopg.Connection[Any]:
    """A connection of the driver's own, for what SQLAlchemy doesn't do."""
    address = settings.url.set(drivername="postgresql", query={}).render_as_string(hide_password=False)
    return psycopg.connect(address, **{**settings.url.query, **postgresql_arguments(settings)})


def _postgresql_engine(settings: Settings) -> Engine:
    return create_engine(settings.url, connect_args=postgresql_arguments(settings), pool_pre_ping=True)


@contextmanager
def open_session(engine: Engine, settings: Settings, *, read_only: bool = False) -> Iterator[Session]:
    """A session in one transaction: committed at the end, rolled back by an exception.

    Raises:
        Unreachable, DatabaseBusy, DiskFull: as their names say.
    """
    bind = engine.execution_options(**READ_ONLY) if read_only else engine
    with clear_errors(settings), Session(bind, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def clear_errors(settings: Settings) -> Iterator[None]:
    """Turns the database's complaints that a user can put right into UserErrors; others pass unchanged."""
    try:
        yield
    except (DBAPIError, sqlite3.Error, psycopg.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        explained = explain(cause, settings)
        if explained is None:
            raise
        raise explained from error


def explain(cause: BaseException | None, settings: Settings) -> UserError | None:
    """What the user can do about a driver's error, or None when it isn't theirs to put right."""
    if isinstance(cause, sqlite3.Error):
        return _explain_sqlite(cause, settings)
    if isinstance(cause, psycopg.Error):
        return _explain_postgresql(cause, settings)
    return None


def _explain_sqlite(error: sqlite3.Error, settings: Settings) -> UserError | None:
    path = settings.sqlite_path
    match getattr(error, "sqlite_errorname", "").split("_")[1:2]:
        case ["FULL"]:
            return DiskFull(
                f"The disk is full: {path} can't grow.",
                "Free some space there, or set TDLENS_HOME to another disk, and run the command again.",
            )
        case ["BUSY"]:
            return DatabaseBusy(
                f"{path} has been locked by another process for {SQLITE_WAIT} s.",
                "Wait for the other command to end; for many workers use PostgreSQL (TDLENS_DATABASE_URL).",
            )
        case ["CANTOPEN"]:
            return Unreachable(
                f"The database {path} can't be opened.",
                "Check that its folder exists and can be written, or set TDLENS_HOME to another.",
            )
        case ["NOTADB" | "CORRUPT"]:
            return Unreachable(
                f"{path} isn't an intact SQLite database ({error}).",
                "Restore it from a backup, or set TDLENS_HOME to a new folder and run the studies again.",
            )
        case ["READONLY"]:
            return Unreachable(
                f"{path} can't be written ({error}).",
                "Give yourself write access to it and to its folder, or set TDLENS_HOME to another.",
            )
        case _:
            return None


def _explain_postgresql(error: psycopg.Error, settings: Settings) -> UserError | None:
    if error.sqlstate == "53100":
        return DiskFull(
            f"The disk of the database {settings.database} is full.",
            "Free some space on the server and run the command again.",
        )
    if error.sqlstate in ("40001", "40P01", "55P03"):
        return DatabaseBusy(
            f"Another transaction in {settings.database} was in the way: {str(error).strip().splitlines()[0]}.",
            "Run the command again.",
        )
    # No state at all means that no server answered, 08… a broken connection, 57P… a server going down, 25P03 that this
    # process was silent in a transaction, as it was stopped.
    lost = error.sqlstate is None or error.sqlstate.startswith(("08", "57P", "53300"))
    if error.sqlstate == "25P03" or (isinstance(error, psycopg.OperationalError) and lost):
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no answer"
        return Unreachable(
            f"The database {settings.database} can't be reached: {reason.rstrip('.')}.",
            "Start the server and check host, port, name and password in TDLENS_DATABASE_URL, "
            "or unset it to use SQLite.",
        )
    return None
