"""Many rows at once: hundreds of thousands a second on both databases."""

import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import pandas as pd
import psycopg
from sqlalchemy import JSON as JsonType
from sqlalchemy import Boolean, Double, Integer, Table, func, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from tdlens.record.base import Base


def insert_rows(session: Session, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts rows of attribute names to values; all rows must have the keys of the first.

    Values may be Python's or NumPy's; NaN becomes NULL (as SQLite would do by itself). Columns left out get
    the database's default.

    Raises:
        ValueError: a key that is no attribute of `model`, or rows of different keys.
        sqlalchemy.exc.IntegrityError: a constraint of the table is violated.
    """
    if not rows:
        return
    names = rows[0].keys()
    if any(row.keys() != names for row in rows):
        raise ValueError(f"{model.__name__}: all rows must have the same keys")
    insert_columns(session, model, {name: [row[name] for row in rows] for name in names})


def insert_columns(session: Session, model: type[Base], columns: Mapping[str, Any]) -> None:
    """Inserts rows given by column: lists, arrays [N] or pandas series, and single values for all rows alike.

    Otherwise as `insert_rows`.

    Raises:
        ValueError: besides, columns of different lengths, or no column at all among single values.
    """
    table = _table(model)
    attributes = {attribute.key: attribute.columns[0] for attribute in model.__mapper__.column_attrs}
    if unknown := columns.keys() - attributes.keys():
        raise ValueError(f"{model.__name__} has no {', '.join(sorted(unknown))}")
    lengths = {len(values) for values in columns.values() if _is_column(values)}
    if len(lengths) != 1:
        raise ValueError(f"{model.__name__}: columns of one length are needed, not {sorted(lengths)}")
    targets = [attributes[name] for name in columns]
    prepared = [_prepare(column.type, values) for column, values in zip(targets, columns.values(), strict=True)]
    session.flush()
    if lengths != {0}:
        _write(session, table, [column.name for column in targets], zip(*prepared))  # noqa: B905


def new_ids(session: Session, model: type[Base], n: int) -> list[int]:
    """`n` unused ids of a table, ascending, for rows that refer to each other before they are inserted."""
    table = _table(model)
    session.flush()
    if session.get_bind().dialect.name == "sqlite":
        # This session holds the write lock from its beginning: nobody else can take these.
        highest = session.scalar(select(func.max(table.c.id))) or 0
        return list(range(highest + 1, highest + n + 1))
    sequence = func.pg_get_serial_sequence(table.name, "id")
    return sorted(session.scalars(select(func.nextval(sequence)).select_from(func.generate_series(1, n))))


def _table(model: type[Base]) -> Table:
    table = model.__table__
    assert isinstance(table, Table)
    return table


def _is_column(values: Any) -> bool:
    return isinstance(values, list | tuple | np.ndarray | pd.Series)


def _prepare(kind: TypeEngine[Any], values: Any) -> Iterable[Any]:
    convert = _converter(kind)
    if not _is_column(values):
        return repeat(None if values is None else convert(values))
    items = values.tolist() if isinstance(values, np.ndarray | pd.Series) else values
    return [None if item is None else convert(item) for item in items]


def _converter(kind: TypeEngine[Any]) -> Callable[[Any], Any]:
    """What makes a value fit for both drivers: sqlite3 would store a NumPy integer as a blob."""
    if isinstance(kind, Double):
        return _number
    if isinstance(kind, Boolean):
        return bool
    if isinstance(kind, Integer):
        return operator.index
    if isinstance(kind, JsonType):
        return lambda value: json.dumps(value, allow_nan=False)
    return lambda value: value


def _number(value: Any) -> float | None:
    number = float(value)
    return None if number != number else number


def _write(session: Session, table: Table, names: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    connection = session.connection()
    quote = connection.dialect.identifier_preparer.quote
    target = f"{quote(table.name)} ({', '.join(map(quote, names))})"
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(names))
        connection.exec_driver_sql(f"INSERT INTO {target} VALUES ({marks})", list(rows))  # noqa: S608
        return
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    statement = f"COPY {target} FROM STDIN"
    try:
        with driver.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        raise _wrapped(error)(statement, None, error) from error


def _wrapped(error: psycopg.Error) -> type[DBAPIError]:
    if isinstance(error, psycopg.IntegrityError):
        return IntegrityError
    return DataError if isinstance(error, psycopg.DataError) else DBAPIError
