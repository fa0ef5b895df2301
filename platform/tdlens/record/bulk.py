"""Many rows at once: hundreds of thousands a second on both databases."""

import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import psycopg
from sqlalchemy import JSON as JsonType
from sqlalchemy import BigInteger, Boolean, Double, Integer, Table, func, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from tdlens.record.base import Base
from tdlens.record.copy_binary import Numbers, encode


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


def insert_columns(session: Session, model: type[Base], columns: Mapping[str, Any], *, into: str | None = None) -> None:
    """Inserts rows given by column: lists, arrays [N] or pandas series, and single values for all rows alike.

    Otherwise as `insert_rows`. Where all columns are numbers, PostgreSQL is handed them as they lie in memory.

    Args:
        into: a table like the model's that isn't part of it yet.

    Raises:
        ValueError: besides, columns of different lengths, or no column at all among single values; a number that
            its column can't hold.
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
        _write(session, into or table.name, [column.name for column in targets], prepared, lengths.pop())


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
    # the last for columns of pandas, which most processes never import
    return isinstance(values, list | tuple | np.ndarray) or getattr(values, "ndim", 0) == 1


Column = Numbers | list[Any]
"""Numbers, or values as the drivers take them."""


def _prepare(kind: TypeEngine[Any], values: Any) -> Column:
    given = values if _is_column(values) else [values]
    if isinstance(kind, Double):
        floats = np.asarray(given, dtype=np.float64)
        return Numbers(floats, np.isnan(floats))
    if isinstance(kind, Boolean | Integer):
        return _whole(kind, given)
    if isinstance(kind, JsonType):
        return [None if value is None else json.dumps(value, allow_nan=False) for value in given]
    return list(given)


def _whole(kind: Boolean | Integer, given: Any) -> Numbers:
    """Integers or truth values; a fraction isn't rounded to one."""
    array = given if isinstance(given, np.ndarray) else None
    null = None
    if array is None or array.dtype.kind not in "biu":
        convert = bool if isinstance(kind, Boolean) else operator.index
        null = np.array([value is None for value in given])
        array = np.array([0 if value is None else convert(value) for value in given])
    wide = np.bool_ if isinstance(kind, Boolean) else np.int64 if isinstance(kind, BigInteger) else np.int32
    narrow = array.astype(wide)
    if wide is not np.bool_ and not np.array_equal(narrow, array):
        raise ValueError(f"a number between {array.min()} and {array.max()} doesn't fit into {kind!r}")
    return Numbers(narrow, null)


def _write(session: Session, table: str, names: list[str], columns: list[Column], n: int) -> None:
    connection = session.connection()
    quote = connection.dialect.identifier_preparer.quote
    target = f"{quote(table)} ({', '.join(map(quote, names))})"
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(names))
        connection.exec_driver_sql(f"INSERT INTO {target} VALUES ({marks})", list(_rows(columns, n)))  # noqa: S608
        return
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    numbers = [column for column in columns if isinstance(column, Numbers)]
    binary = len(numbers) == len(columns)
    statement = f"COPY {target} FROM STDIN" + (" (FORMAT BINARY)" if binary else "")
    try:
        with driver.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            if binary:
                for part in encode(numbers, n):
                    copy.write(part)
            else:
                for row in _rows(columns, n):
                    copy.write_row(row)
    except psycopg.Error as error:
        raise _wrapped(error)(statement, None, error) from error


def _rows(columns: Sequence[Column], n: int) -> Iterator[tuple[Any, ...]]:
    """Plain Python values: sqlite3 would store a NumPy integer as a blob."""
    plain = [_plain(column) if isinstance(column, Numbers) else column for column in columns]
    return zip(*(repeat(one[0], n) if len(one) == 1 else one for one in plain), strict=True)


def _plain(column: Numbers) -> list[Any]:
    values: list[Any] = column.values.tolist()
    for row in [] if column.null is None else np.flatnonzero(column.null).tolist():
        values[row] = None
    return values


def _wrapped(error: psycopg.Error) -> type[DBAPIError]:
    if isinstance(error, psycopg.IntegrityError):
        return IntegrityError
    return DataError if isinstance(error, psycopg.DataError) else DBAPIError
