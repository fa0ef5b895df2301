"""SQL for users and figures: whatever is asked, the database itself refuses to change anything."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.numeric import FloatLoader
from psycopg.types.string import TextLoader
from sqlalchemy import text

from tdlens.errors import BadQuery, SchemaMismatch
from tdlens.record.engine import clear_errors, connect_postgresql, explain
from tdlens.record.views import VIEWS
from tdlens.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

# SQLite has no booleans and no moments; these two make its answers look like PostgreSQL's.
sqlite3.register_converter("BOOLEAN", lambda value: value != b"0")
sqlite3.register_converter("DATETIME", lambda value: datetime.fromisoformat(value.decode()).replace(tzinfo=UTC))

_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def query(settings: Settings, sql: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """The rows that one SELECT gives, with JSON as text, booleans as booleans and moments in UTC.

    Args:
        sql: one statement; `:name` stands for the parameter of that name when there are parameters.

    Raises:
        BadQuery: the database refused: not one statement, not a SELECT, a mistake in it, an unknown name.
        SchemaMismatch: there is no record yet.
        Unreachable: the database can't be opened.
    """
    with clear_errors(settings):
        if settings.sqlite_path is None:
            return _query_postgresql(settings, sql, parameters)
        return _query_sqlite(settings, sql, parameters)


def _query_sqlite(settings: Settings, sql: str, parameters: Mapping[str, Any] | None) -> pd.DataFrame:
    path = settings.sqlite_path
    if path is None or not path.exists():
        raise SchemaMismatch(f"There is no record at {path}.", "Run a study first: tdlens run STUDY.toml")
    types = sqlite3.PARSE_DECLTYPES
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, detect_types=types)) as connection:
        connection.execute("PRAGMA query_only = ON")
        # The two locks above still let ATTACH, VACUUM INTO and PRAGMA through, none of which is a question.
        connection.set_authorizer(_only_reads)
        try:
            cursor = connection.execute(sql, parameters or {})
            rows = cursor.fetchall()
        except sqlite3.Error as error:
            if explain(error, settings) is not None:
                raise
            raise _bad_query(str(error)) from error
        if cursor.description is None:
            raise _bad_query("it asks for nothing")
        return _frame(cursor.description, rows)


def _only_reads(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY


def _query_postgresql(settings: Settings, sql: str, parameters: Mapping[str, Any] | None) -> pd.DataFrame:
    if parameters is not None:
        sql = str(text(sql).compile(dialect=settings.url.get_dialect()()))
    with closing(connect_postgresql(settings)) as connection:
        connection.read_only = True
        connection.adapters.register_loader("numeric", FloatLoader)
        connection.adapters.register_loader("json", TextLoader)
        # A cursor with a name is declared on the server: DECLARE takes only a SELECT, and psycopg sends it by
        # the protocol of one statement. So "COMMIT; DROP TABLE step" has no way out of the transaction.
        with connection.cursor(name="tdlens_query") as cursor:
            try:
                cursor.execute(sql.encode(), parameters)
                rows = cursor.fetchall()
            except psycopg.Error as error:
                if explain(error, settings) is not None:
                    raise
                raise _bad_query(error.diag.message_primary or str(error)) from error
            return _frame(cursor.description, rows)


def _frame(description: Any, rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    import pandas as pd  # workers' supervisors and heartbeats ask no such thing, and start sooner without it

    return pd.DataFrame.from_records(rows, columns=[column[0] for column in description or ()])


def _bad_query(reason: str) -> BadQuery:
    return BadQuery(
        f"The database refused the query: {reason}.",
        f"Ask with one SELECT, which can't change anything. The views are {', '.join(VIEWS)}.",
    )
