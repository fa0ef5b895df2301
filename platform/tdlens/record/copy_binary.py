"""PostgreSQL's binary COPY format, written from NumPy columns without a Python loop over rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Signature, flags, and an extension of no bytes."""
TRAILER = b"\xff\xff"
CHUNK = 4096
"""Rows that are encoded at a time: few enough that the server has something to read meanwhile."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """A column of N numbers or truth values, in the width of its column in the database."""

    values: NDArray[Any]
    """int32, int64, float64 or bool [N]; or [1], for all rows alike."""
    null: NDArray[np.bool_] | None = None
    """[N] or [1]: where there is no value."""


def encode(columns: Sequence[Numbers], n: int) -> Iterator[bytes | memoryview]:
    """The bytes that COPY … FROM STDIN (FORMAT BINARY) takes for `n` rows.

    A missing value has no bytes, so rows that lack the same columns are written together, and rows may come in
    another order than they were given in.
    """
    yield HEADER
    for first in range(0, n, CHUNK):
        here = slice(first, min(first + CHUNK, n))
        part = [Numbers(_cut(one.values, here), None if one.null is None else _cut(one.null, here)) for one in columns]
        yield from _encode(part, here.stop - here.start)
    yield TRAILER


def _cut(values: NDArray[Any], here: slice) -> NDArray[Any]:
    return values if len(values) == 1 else values[here]


def _encode(columns: list[Numbers], n: int) -> Iterator[memoryview]:
    lacking = [number for number, one in enumerate(columns) if one.null is not None and one.null.any()]
    if not lacking:
        yield _records(columns, frozenset(), n)
        return
    pattern = np.zeros(n, dtype=np.int64)
    for place, number in enumerate(lacking):
        pattern |= np.asarray(columns[number].null).astype(np.int64) << place
    for code in np.unique(pattern):
        rows = np.flatnonzero(pattern == code)
        alike = [Numbers(one.values if len(one.values) == 1 else one.values[rows]) for one in columns]
        absent = frozenset(number for place, number in enumerate(lacking) if code >> place & 1)
        yield _records(alike, absent, len(rows))


def _records(columns: list[Numbers], absent: frozenset[int], n: int) -> memoryview:
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for number, one in enumerate(columns):
        fields.append((f"length{number}", ">i4"))
        if number not in absent:
            fields.append((f"value{number}", one.values.dtype.newbyteorder(">").str))
    like = np.zeros(1, dtype=fields)
    like["fields"] = len(columns)
    for number, one in enumerate(columns):
        like[f"length{number}"] = -1 if number in absent else one.values.dtype.itemsize
    records = np.repeat(like, n)
    for number, one in enumerate(columns):
        if number not in absent:
            records[f"value{number}"] = one.values
    return records.view(np.uint8).data
