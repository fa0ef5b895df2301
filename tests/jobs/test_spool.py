"""What is spooled comes back, by rows and by columns, and leaves no file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.spool import ColumnSpool, mapped_rows


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(1, 4))
def test_rows_are_those_of_the_parts(sizes: list[int], width: int) -> None:
    if not sum(sizes):
        sizes = [*sizes, 1]
    parts = list(torch.split(torch.randn(sum(sizes), width, generator=torch.Generator().manual_seed(0)), sizes))
    rows = mapped_rows(parts)
    assert torch.equal(rows, torch.cat(parts))
    assert torch.equal(rows[torch.tensor([len(rows) - 1, 0])], torch.cat(parts)[[-1, 0]])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(0, 7), st.integers(1, 8))
def test_columns_are_those_of_the_rows(sizes: list[int], n_columns: int, at_once: int) -> None:
    rows = torch.randn(sum(sizes), n_columns, generator=torch.Generator().manual_seed(0))
    with ColumnSpool(len(rows), n_columns, at_once) as spool:
        for part in torch.split(rows, sizes):
            spool.append(part)
        parts = list(spool.parts())
        assert max(part.shape[1] for part in parts) <= at_once
        assert torch.equal(torch.cat(parts, dim=1), rows)
        assert torch.equal(torch.cat(list(spool.parts()), dim=1), rows)


def test_other_types_become_float32() -> None:
    rows = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    assert mapped_rows([rows.bfloat16()]).dtype == torch.float32
    with ColumnSpool(3, 2, 2) as spool:
        spool.append(rows)
        (part,) = spool.parts()
    assert part.dtype == torch.float32 and np.array_equal(part.numpy(), rows.numpy())


def test_no_file_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = mapped_rows([torch.ones(2, 3)])
    with ColumnSpool(2, 3, 1) as spool:
        spool.append(rows)
        assert not list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
