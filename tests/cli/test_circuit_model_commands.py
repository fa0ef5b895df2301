"""Training and judging the circuits model from the command line, on the smallest possible scale."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Invoke
from tests.tiny_study import Workplace


def test_train_and_evaluate(fresh: Workplace, invoke: Invoke, tmp_path: Path) -> None:
    out = tmp_path / "model"
    trained = invoke(fresh, "train-circuit-model", "--out", str(out), "--steps", "2", "--seed", "3")
    assert trained.exit_code == 0, trained.stderr
    assert any(out.glob("*.safetensors")) and (out / "tokenizer.json").is_file()
    before = {path.name: path.read_bytes() for path in out.glob("*.safetensors")}
    again = invoke(fresh, "train-circuit-model", "--out", str(out), "--steps", "2")
    assert again.exit_code == 2 and "--force" in again.stderr
    assert {path.name: path.read_bytes() for path in out.glob("*.safetensors")} == before
    # two steps teach nothing: the gates must notice
    judged = invoke(fresh, "evaluate-circuit-model", str(out), "--prompts", "4")
    assert judged.exit_code == 1 and "failed" in judged.stdout and "worse order" in judged.stdout


def test_a_model_that_cannot_be_asked_is_refused(fresh: Workplace, invoke: Invoke) -> None:
    missing = invoke(fresh, "evaluate-circuit-model", "/nowhere/model")
    assert missing.exit_code == 2 and "/nowhere/model" in missing.stderr
    other = invoke(fresh, "evaluate-circuit-model", "reference")
    assert other.exit_code == 2 and "tdlens train-circuit-model" in other.stderr
