"""A database's schema as the database itself describes it, and scripts that make one."""

import sqlite3
from contextlib import closing

import psycopg
from sqlalchemy import inspect, text

from tdlens.record.engine import make_engine
from tdlens.record.migrate import VERSION_TABLE
from tdlens.settings import Settings

SQLITE = "SELECT type || ' ' || name, COALESCE(sql, '') FROM sqlite_master"
POSTGRESQL = """
WITH own AS (
    SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
)
SELECT 'relation ' || relname, relkind::text || COALESCE(' ' || pg_get_partkeydef(oid), '') FROM own
UNION ALL
SELECT 'column ' || relname || '.' || attname,
    format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' not null' ELSE '' END || attidentity::text
        || COALESCE(' default ' || pg_get_expr(adbin, adrelid), '')
FROM own JOIN pg_attribute a ON a.attrelid = own.oid LEFT JOIN pg_attrdef ON adrelid = own.oid AND adnum = attnum
WHERE relkind IN ('r', 'p', 'v') AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'constraint ' || relname || '.' || conname, pg_get_constraintdef(k.oid)
FROM own JOIN pg_constraint k ON conrelid = own.oid
UNION ALL
SELECT 'index ' || relname, pg_get_indexdef(oid) FROM own WHERE relkind IN ('i', 'I')
UNION ALL
SELECT 'view ' || relname, pg_get_viewdef(oid) FROM own WHERE relkind = 'v'
UNION ALL
SELECT 'trigger ' || relname || '.' || tgname, pg_get_triggerdef(t.oid)
FROM own JOIN pg_trigger t ON tgrelid = own.oid AND NOT tgisinternal
UNION ALL
SELECT 'function ' || proname, pg_get_functiondef(p.oid)
FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace AND n.nspname = current_schema()
"""


def describe(settings: Settings) -> dict[str, str]:
    """The definition of each table, column, constraint, index, view, trigger and function, by kind and name.

    Whatever Alembic compares or doesn't is in it, but for the order of columns; only the table of revisions is not.
    """
    engine = make_engine(settings)
    with engine.connect() as connection:
        if settings.sqlite_path is not None:
            found = {name: _unordered(sql) for name, sql in connection.execute(text(SQLITE))}
        else:
            found = {name: sql for name, sql in connection.execute(text(POSTGRESQL))}
    engine.dispose()
    return {name: " ".join(words.split()) for name, words in found.items() if VERSION_TABLE not in name}


def _unordered(sql: str) -> str:
    """SQLite keeps a table's text: here without quotes, and with the parts between the outer parentheses in order."""
    head, _, body = sql.replace('"', "").partition("(")
    if not head.startswith("CREATE TABLE"):
        return sql
    body, _, tail = body.rpartition(")")
    parts, depth = [""], 0
    for letter in body:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return f"{head}({', '.join(sorted(' '.join(part.split()) for part in parts))}){tail}"


def names(settings: Settings) -> set[str]:
    """Tables and views, that of revisions included."""
    engine = make_engine(settings)
    inspector = inspect(engine)
    found = {*inspector.get_table_names(), *inspector.get_view_names()}
    engine.dispose()
    return found


def execute(settings: Settings, statement: str) -> None:
    """One statement in a transaction."""
    engine = make_engine(settings)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def execute_script(settings: Settings, script: str) -> None:
    """Many statements, as psql and sqlite3 run them: transactions are the script's own affair."""
    if settings.sqlite_path is not None:
        settings.sqlite_path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(settings.sqlite_path, isolation_level=None)) as file:
            file.executescript(script)
        return
    address = settings.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg.connect(address, autocommit=True)) as server:
        server.execute(script.encode())
