"""Training and judging the welfare model from the command line, on the smallest possible scale."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Invoke
from tests.cli.from_scratch_commands import assert_trains_and_judges
from tests.tiny_study import Workplace


def test_train_and_evaluate(fresh: Workplace, invoke: Invoke, tmp_path: Path) -> None:
    assert_trains_and_judges(invoke, fresh, tmp_path / "model", "welfare-model", instances="--items", says="P(True)")


def test_a_model_that_cannot_be_asked_is_refused(fresh: Workplace, invoke: Invoke) -> None:
    other = invoke(fresh, "evaluate-welfare-model", "reference")
    assert other.exit_code == 2 and "tdlens train-welfare-model" in other.stderr
