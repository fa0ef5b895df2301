"""The binary COPY format against a plain encoder, and what a table then holds."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdlens.record import copy_binary
from tdlens.record.copy_binary import HEADER, TRAILER, Numbers, encode

FORMATS = {np.dtype("int32"): ">i", np.dtype("int64"): ">q", np.dtype("float64"): ">d", np.dtype("bool"): ">?"}


def plain(columns: list[Numbers], n: int) -> list[bytes]:
    """Each row's bytes, one value after the other."""

    def at(values: Any, row: int) -> Any:
        return values[0 if len(values) == 1 else row]

    rows = []
    for row in range(n):
        data = struct.pack(">h", len(columns))
        for one in columns:
            if one.null is not None and at(one.null, row):
                data += struct.pack(">i", -1)
                continue
            value = struct.pack(FORMATS[one.values.dtype], at(one.values, row).item())
            data += struct.pack(">i", len(value)) + value
        rows.append(data)
    return rows


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Numbers], int]:
    n = draw(st.integers(1, 12))
    columns = []
    for _ in range(draw(st.integers(1, 5))):
        length = draw(st.sampled_from([1, n]))
        kind = draw(st.sampled_from(list(FORMATS)))
        numbers = {
            "i": st.integers(np.iinfo(kind).min, np.iinfo(kind).max) if kind.kind == "i" else st.nothing(),
            "f": st.floats(allow_nan=False),
            "b": st.booleans(),
        }[kind.kind]
        values = np.array(draw(st.lists(numbers, min_size=length, max_size=length)), dtype=kind)
        absent = draw(st.none() | st.lists(st.booleans(), min_size=length, max_size=length))
        columns.append(Numbers(values, None if absent is None else np.array(absent)))
    return columns, n


@given(tables(), st.integers(1, 5))
def test_the_same_rows_as_a_plain_encoder(table: tuple[list[Numbers], int], chunk: int) -> None:
    columns, n = table
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy_binary, "CHUNK", chunk)
        parts = list(encode(columns, n))
    assert (parts[0], parts[-1]) == (HEADER, TRAILER)
    data = b"".join(parts[1:-1])
    rows = []
    while data:
        (fields,), end = struct.unpack(">h", data[:2]), 2
        for _ in range(fields):
            (length,) = struct.unpack(">i", data[end : end + 4])
            end += 4 + max(0, length)
        rows.append(data[:end])
        data = data[end:]
    assert sorted(rows) == sorted(plain(columns, n))
