"""The benchmark of a study's memory measures the studies as they are, and whole trees of processes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("study_memory", ROOT / "benchmarks" / "study_memory.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["two_step", "grid_world", "graph_walk"])
def test_studies_keep_all_but_what_is_said(benchmark: ModuleType, tmp_path: Path, name: str) -> None:
    from jobs.study import load

    whole = load(ROOT / "studies" / f"{benchmark.STUDIES[name]}.toml")
    study = benchmark.study_of(name, tmp_path, 12)
    assert study.task.rollouts == 12 and study.model.name == str(tmp_path)
    assert study.task.settings == whole.task.settings and study.task.variants == whole.task.variants
    assert study.correlate == whole.correlate and study.signals == whole.signals
    assert [(section.name, section.epochs) for section in study.sae] == [(section.name, 1) for section in whole.sae]
    assert [section.name for section in study.intervention] == [whole.intervention[0].name]


def test_children_count(benchmark: ModuleType) -> None:
    this = psutil.Process()
    alone, own = benchmark.resident(this)
    assert alone > own > 0
    hold = "import sys; held = bytearray(b'x' * 200_000_000); print(len(held), flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        both, own_of_both = benchmark.resident(this)
        child.communicate()
    assert both > alone + 190 and own_of_both > own + 190


def test_exponents_are_those_of_a_power_law(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(name: str, model: Path, rollouts: int) -> dict[str, dict[str, float]]:
        return {"all": {"seconds": 2.0 * rollouts, "megabytes": 500.0, "own": 3.0 * rollouts**0.5}}

    monkeypatch.setattr(benchmark, "measure", measured)
    found: dict[str, Any] = benchmark.report_on("two_step", tmp_path, 8, [16, 1, 4])
    assert list(found["runs"]) == [1, 4, 16]
    assert found["exponents"]["all"] == pytest.approx({"seconds": 1.0, "megabytes": 0.0, "own": 0.5})
    assert "8 rollouts" in capsys.readouterr().out
