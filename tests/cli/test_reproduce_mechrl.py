"""Searches for attention heads by one command, from a model to a page, at a size of seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.bundled import study_file
from tests.cli.conftest import Invoke
from tests.jobs.head_study import random_gpt2
from tests.tiny_study import Workplace

SMALLER = (
    *("task.rollouts=4", "task.settings.prompts=4", "task.settings.control_tokens=12", "search.pool=2"),
    *("search.transitions=300", "search.seeds=2", "search.paired=3", "search.planted=false", "bootstrap=100"),
)
COMMAND = ("reproduce", "mechrl", "--quick", "--no-mlflow", *(f"--set={change}" for change in SMALLER))


def test_from_a_model_to_a_page(fresh: Workplace, invoke: Invoke, tmp_path_factory: pytest.TempPathFactory) -> None:
    model = str(random_gpt2(tmp_path_factory.getbasetemp()))
    result = invoke(fresh, *COMMAND, "--model", model)
    assert result.exit_code == 0, result.stderr
    page = Path(next(line.split(": ", 1)[1] for line in result.stderr.splitlines() if line.startswith("Report: ")))
    text = page.read_text(encoding="utf-8")
    assert "A policy is more than a fixed list" in text
    assert len(list(page.parent.rglob("*.png"))) == 11

    question = "SELECT count(DISTINCT search) AS n FROM v_circuit_search WHERE method = 'ppo'"
    assert "4" in invoke(fresh, "sql", question).stdout
    published = "SELECT y FROM v_published_point WHERE source LIKE 'Khadka%' AND series = 'k5_none' AND x = 50"
    assert "2.103" in invoke(fresh, "sql", published).stdout


def test_what_cannot_be_searched_is_refused(fresh: Workplace, invoke: Invoke) -> None:
    for command, said in (
        (("reproduce", "mechrl", "--quick", "--model", "reference"), "can't be read by reference"),
        (("reproduce", "mechrl", "--quick", "--set=search.best_of=[0]"), "search.best_of"),
        (("reproduce", "mechrl", "--quick", '--set=search.tasks=["copying"]'), "unknown task among task.variants"),
        (
            ("run", str(study_file("head_ablation")), "--rehearse"),
            "A rehearsal is for tasks that a language model plays",
        ),
    ):
        result = invoke(fresh, *command, "--no-mlflow")
        assert result.exit_code == 2 and said in result.stderr.replace("\n", " "), result.stderr
