"""What is asked of the commands that train a small model from scratch and judge it, on the smallest possible scale."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Invoke
from tests.tiny_study import Workplace


def assert_trains_and_judges(
    invoke: Invoke, place: Workplace, out: Path, model: str, *, instances: str, says: str
) -> None:
    """A training, which isn't written over, and its judgement: two steps teach nothing, and the gates must notice.

    Args:
        invoke: runs a command.
        place: where.
        out: folder for the model.
        model: the commands' name of it.
        instances: option for how many are judged.
        says: stands in the judgement.
    """
    trained = invoke(place, f"train-{model}", "--out", str(out), "--steps", "2", "--seed", "3")
    assert trained.exit_code == 0, trained.stderr
    assert f"tdlens evaluate-{model} {out}" in trained.stderr
    assert any(out.glob("*.safetensors")) and (out / "tokenizer.json").is_file()
    before = {path.name: path.read_bytes() for path in out.glob("*.safetensors")}
    again = invoke(place, f"train-{model}", "--out", str(out), "--steps", "2")
    assert again.exit_code == 2 and "--force" in again.stderr
    assert {path.name: path.read_bytes() for path in out.glob("*.safetensors")} == before
    judged = invoke(place, f"evaluate-{model}", str(out), instances, "4")
    assert judged.exit_code == 1 and "failed" in judged.stdout and says in judged.stdout
    missing = invoke(place, f"evaluate-{model}", "/nowhere/model")
    assert missing.exit_code == 2 and "/nowhere/model" in missing.stderr
