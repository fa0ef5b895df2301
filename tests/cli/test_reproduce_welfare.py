"""The functional welfare axis by one command, from a model to a page, at a size of seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.bundled import study_file
from jobs.stages import planted_axis
from jobs.welfare import emotion_stories
from tdlens.record.views import VIEWS
from tests.cli.conftest import Invoke
from tests.tiny_study import Workplace
from tests.welfare.small_welfare import CHOICES, MAZE, PROBLEMS, QUESTIONS, REQUESTS, SMALL, welfare_model

WELFARE_VIEWS = sorted(
    view
    for view in VIEWS
    if view.startswith(("v_maze_", "v_concept_", "v_emotion_", "v_goal_", "v_steer", "v_planted_axis"))
    and view not in {"v_concept_latent", "v_concept_signal"}  # of a study of Two-Step on the same model
)


def changes(folder: Path) -> list[str]:
    """The study of the maze at the size of the small one, with files of questions."""
    files = {"confidence": [*QUESTIONS, *CHOICES], "backtracking": PROBLEMS, "refusal": REQUESTS}
    for name, items in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    given = {
        "task.rollouts": 4,
        "bootstrap": 100,
        **{f"task.settings.{setting}": value for setting, value in MAZE.items()},
        **{f"concepts.{setting}": value for setting, value in SMALL["concepts"].items()},
        **{f"steering.{setting}": value for setting, value in SMALL["steering"].items()},
        **{f"steering.data.{name}": str(folder / f"{name}.jsonl") for name in files},
    }
    trainings = ", ".join(
        "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in training.items()) + "}"
        for training in SMALL["training"]
    )
    return [f"training=[{trainings}]", *(f"{key}={json.dumps(value)}" for key, value in given.items())]


def test_from_a_model_to_a_page(
    fresh: Workplace,
    invoke: Invoke,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planted_axis, "KINDS", planted_axis.KINDS[:1])
    monkeypatch.setattr(emotion_stories, "MAX_TOKENS", 6)
    model = str(welfare_model(tmp_path_factory.getbasetemp()))
    command = ["reproduce", "welfare-axis", "--quick", "--no-mlflow", "--only", "maze", "--model", model]
    result = invoke(fresh, *command, *(f"--set={change}" for change in changes(tmp_path)))
    assert result.exit_code == 0, result.stderr
    page = Path(next(line.split(": ", 1)[1] for line in result.stderr.splitlines() if line.startswith("Report: ")))
    text = page.read_text(encoding="utf-8")
    assert "The maze is learned" in text and "no study of the same model" not in text
    assert (page.parent / "figures" / "doses.png").exists()

    record = fresh.record()
    for view in WELFARE_VIEWS:
        assert len(record.query(f"SELECT * FROM {view} WHERE study = 'welfare_axis' LIMIT 1")) == 1, view  # noqa: S608
    record.close()
    effects = "SELECT count(DISTINCT evaluation) AS n FROM v_steering_effect WHERE source = 'untrained'"
    assert "4" in invoke(fresh, "sql", effects).stdout
    vectors = "SELECT count(*) AS n FROM v_concept_vector WHERE chosen AND training IS NULL"
    assert "3" in invoke(fresh, "sql", vectors).stdout
    published = "SELECT y FROM v_published_point WHERE source LIKE 'Han%' AND series = 'gold' AND x = 4 LIMIT 1"
    assert invoke(fresh, "sql", published).exit_code == 0


def test_what_cannot_be_trained_is_refused(fresh: Workplace, invoke: Invoke, tmp_path: Path) -> None:
    study = str(study_file("welfare_axis"))
    (tmp_path / "bad.jsonl").write_text('{"prompt": 3}\n')
    for command, said in (
        (("--model", "circuits"), "nothing to ask this model"),
        (("--engine", "deepspeed"), "trained by the engine hf alone"),
        (("--rehearse",), "trains it in a maze"),
        (('--set=steering.evaluations=["moods"]',), "unknown evaluation 'moods'"),
        (("--set=steering.data.refusl=x.jsonl",), "did you mean refusal?"),
        (("--set=steering.judge=/nowhere/judge",), "There is no model at /nowhere/judge"),
        (("--set=concepts.longest=16",), "concepts.longest is 16, and a rollout has"),
        (('--set=steering.steered=["other"]',), "other"),
        (("--set=training.primary.variant=custom",), "needs a path_tile"),
        ((f"--set=steering.data.confidence={tmp_path}/bad.jsonl",), "bad.jsonl"),
        ((f"--set=steering.data.confidence={tmp_path}/none.jsonl",), "none.jsonl"),
    ):
        result = invoke(fresh, "run", study, *command, "--no-mlflow")
        assert result.exit_code == 2 and said in result.stderr.replace("\n", " "), (command, result.stderr)
