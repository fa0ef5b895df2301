"""Matrices on disk for as long as they are in use: of what was spooled, memory holds what is looked at.

Their files lie below TMPDIR without a name, so that they go with whoever has them open.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

ITEM = 4
"""Bytes of a float32."""


def mapped_rows(parts: Iterable[Tensor]) -> Tensor:
    """Parts [n, d] one after the other as one float32 tensor [N, d], mapped from a file.

    Raises:
        OSError: the disk is full.
    """
    n_rows = width = 0
    with tempfile.TemporaryFile(prefix="tdlens-") as file:
        for part in parts:
            file.write(_bytes(part))
            n_rows, width = n_rows + len(part), part.shape[1]
        file.flush()
        # copy on write: nobody writes, but torch would complain of an array that can't be
        return torch.from_numpy(np.memmap(file, np.float32, mode="c", shape=(n_rows, width)))


class ColumnSpool:
    """A matrix [N, F] that is written by rows and read by columns.

    Args:
        n_rows: N.
        n_columns: F.
        at_once: columns that are read at a time.
    """

    def __init__(self, n_rows: int, n_columns: int, at_once: int) -> None:
        self._n_rows = n_rows
        self._groups = [slice(first, min(first + at_once, n_columns)) for first in range(0, max(1, n_columns), at_once)]
        self._filled = 0
        self._file = tempfile.TemporaryFile(prefix="tdlens-")  # noqa: SIM115 - closed by __exit__

    def append(self, rows: Tensor) -> None:
        """Write the next rows [n, F].

        Raises:
            OSError: the disk is full.
        """
        for group in self._groups:
            part = rows[:, group]
            self._file.seek((group.start * self._n_rows + self._filled * part.shape[1]) * ITEM)
            self._file.write(_bytes(part))
        self._filled += len(rows)

    def parts(self) -> Iterator[Tensor]:
        """All rows of some columns after the other, [N, at_once]; a matrix without columns is one part."""
        for group in self._groups:
            part = np.empty((self._n_rows, group.stop - group.start), np.float32)
            self._file.seek(group.start * self._n_rows * ITEM)
            self._file.readinto(part.reshape(-1).view(np.uint8).data)
            yield torch.from_numpy(part)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _bytes(rows: Tensor) -> memoryview:
    return rows.detach().contiguous().float().numpy().reshape(-1).view(np.uint8).data
