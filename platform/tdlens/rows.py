"""Rows of a query's answer, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def rows(table: pd.DataFrame) -> Iterator[Any]:
    """Each row as a named tuple; what types its fields have, only the query knows."""
    yield from table.itertuples(index=False)
