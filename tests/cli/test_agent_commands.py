"""Training and judging agents from the command line, on the smallest possible scale."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from jobs.inference.files import REFERENCE_MODEL
from tests.cli.conftest import Invoke
from tests.tiny_study import Workplace


def test_train_and_evaluate(fresh: Workplace, invoke: Invoke, tmp_path: Path) -> None:
    out = tmp_path / "agent"
    arguments = ("train-agent", "--out", str(out), "--moves", "2500", "--hidden", "16", "--hidden", "12")
    trained = invoke(fresh, *arguments, "--seed", "3", "--opponent", "uniform")
    assert trained.exit_code == 0, trained.stderr
    config = json.loads((out / "config.json").read_text())
    assert (config["hidden"], config["variant"], config["training"]["seed"]) == ([16, 12], "uniform", 3)
    before = (out / "model.safetensors").read_bytes()

    again = invoke(fresh, *arguments)
    assert again.exit_code == 2 and "--force" in again.stderr
    assert (out / "model.safetensors").read_bytes() == before
    replaced = invoke(fresh, *arguments, "--force")
    assert replaced.exit_code == 0 and (out / "model.safetensors").read_bytes() != before

    judged = invoke(fresh, "evaluate-agent", str(out), "--games", "50", "--opponent", "uniform", "--seed", "4")
    assert judged.exit_code == 0, judged.stderr
    rows = {row[0]: row[1:] for row in (re.split(r"\s{2,}", line.strip()) for line in judged.stdout.splitlines())}
    assert list(rows) == ["player", "agent", "optimal play", "random play"]
    assert "checkmate" in rows["player"] and "illegal" in rows["player"]
    assert float(rows["agent"][0]) < 0 < 90 < float(rows["optimal play"][0])
    assert float(rows["optimal play"][-1]) == pytest.approx(97.56, abs=0.01)


@pytest.mark.parametrize("folder", ["/nowhere/agent", str(REFERENCE_MODEL)])
def test_what_is_no_agent(fresh: Workplace, invoke: Invoke, folder: str) -> None:
    refused = invoke(fresh, "evaluate-agent", folder)
    assert refused.exit_code == 2 and folder in refused.stderr and "train-agent" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate-agent", "--opponent", "clever"),
        ("evaluate-agent", "--games", "1"),
        ("train-agent",),
        ("train-agent", "--out", "agent", "--moves", "0"),
        ("train-agent", "--out", "agent", "--hidden", "0"),
        ("train-agent", "--out", "agent", "--seed", str(2**32)),
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense(fresh: Workplace, invoke: Invoke, arguments: tuple[str, ...]) -> None:
    refused = invoke(fresh, *arguments)
    assert refused.exit_code == 2
    assert "Invalid value" in refused.stderr or "Missing option" in refused.stderr
    assert not (fresh.folder / "agent").exists()
