"""Training and judging the reference model from the command line, on the smallest possible scale."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Invoke
from tests.cli.from_scratch_commands import assert_trains_and_judges
from tests.tiny_study import Workplace


def test_train_and_evaluate(fresh: Workplace, invoke: Invoke, tmp_path: Path) -> None:
    assert_trains_and_judges(invoke, fresh, tmp_path / "model", "reference", instances="--instances", says="slope")
