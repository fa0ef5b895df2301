"""A whole paper by one command: which studies run, with which changes, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.bundled import study_file
from jobs.cli import reproduce
from jobs.cli.reproduce import Paper, Siblings, Task
from jobs.report import td_in_llms
from jobs.report.reproductions import REPRODUCTIONS
from jobs.study import Study, load
from tests.cli.conftest import Invoke
from tests.cli.test_bad_input import refused
from tests.report.synthetic_reading import World, write_reading
from tests.tiny_study import Workplace
from tests.welfare.small_welfare import data_files, welfare_model

REPRODUCE = ("reproduce", "td-in-llms", "--no-mlflow")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Study]:
    """The studies that the command would compute, in their order; nothing is computed, imported or drawn."""
    studies: list[Study] = []

    def compute(study: Study, *_: object) -> tuple[int, int]:
        studies.append(study)
        return 1, 0

    monkeypatch.setattr(reproduce, "compute", compute)
    monkeypatch.setattr(td_in_llms, "write_paper", lambda record, out: tmp_path / "index.html")
    monkeypatch.setattr("jobs.published.importing.import_published", lambda record, publication: True)
    return studies


def test_the_bundled_studies_are_the_papers() -> None:
    studies = [(task, study) for paper in REPRODUCTIONS.values() for task, study in paper.studies.items()]
    assert [task.value for task in Task] == list(dict(studies))
    assert [paper.value for paper in Paper] == list(REPRODUCTIONS)
    for task, name in studies:
        study = load(study_file(name), quick=True)
        assert (study.name, study.task.name) == (name, task)
        assert study.task.rollouts < load(study_file(name)).task.rollouts


def test_the_wheel_holds_the_studies() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    names = [name for paper in REPRODUCTIONS.values() for name in paper.studies.values()]
    names += [f"{task}_{Siblings.llama3_70b}" for task in td_in_llms.STUDIES]
    names += [f"{task}_{Siblings.qwen3_4b}" for task in REPRODUCTIONS["welfare-axis"].studies]
    assert {f"studies/{name}.toml": f"jobs/studies/{name}.toml" for name in names}.items() <= included.items()


def test_all_studies_run_in_the_papers_order(fresh: Workplace, invoke: Invoke, asked: list[Study]) -> None:
    result = invoke(fresh, *REPRODUCE)
    assert result.exit_code == 0, result.stderr
    assert [study.name for study in asked] == list(td_in_llms.STUDIES.values())
    assert "index.html" in result.stderr


def test_changes_reach_the_studies_they_are_for(fresh: Workplace, invoke: Invoke, asked: list[Study]) -> None:
    changes = ("--set", "seed=7", "--set", "graph_walk:task.rollouts=9", "--model", "some/model", "--engine", "hf")
    result = invoke(fresh, *REPRODUCE, "--quick", "--only", "graph_walk", "--only", "grid_world", *changes)
    assert result.exit_code == 0, result.stderr
    grid, graph = asked
    assert (grid.name, graph.name) == ("grid_world", "graph_walk")
    assert {study.seed for study in asked} == {7}
    assert {study.model.name for study in asked} == {"some/model"}
    assert graph.task.rollouts == 9
    assert grid.task.rollouts == load(study_file("grid_world"), quick=True).task.rollouts


def test_the_published_models_studies_run_under_the_papers_names(
    fresh: Workplace, invoke: Invoke, asked: list[Study], tmp_path: Path
) -> None:
    changes = ("--model", str(tmp_path / "tiny"), "--engine", "hf", "--set", "grid_world:task.rollouts=6")
    result = invoke(fresh, *REPRODUCE, "--studies", "llama3_70b", *changes)
    assert result.exit_code == 0, result.stderr
    assert [study.name for study in asked] == list(td_in_llms.STUDIES.values())
    for task, study in zip(td_in_llms.STUDIES, asked, strict=True):
        own = load(study_file(f"{task}_llama3_70b"))
        assert (study.sae, study.intervention, study.capture) == (own.sae, own.intervention, own.capture)
        assert (study.model.name, study.model.engine) == (str(tmp_path / "tiny"), "hf")
        assert study.task.rollouts == (6 if task == "grid_world" else own.task.rollouts)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--studies", "llama3_70b", "--quick"), ("have no table [quick]", "--rehearse")),
        (("--set", "two_stop:seed=1"), ("is for 'two_stop'", "two_step, grid_world, graph_walk")),
        (("--only", "graph_walk", "--set", "grid_world:seed=1"), ("is for 'grid_world'", "graph_walk")),
        (("--only", "rook_endgame"), ("td-in-llms has no study of rook_endgame", "two_step, grid_world, graph_walk")),
        (("--set", "graph_walk:task.rolouts=9"), ("unknown key task.rolouts", "did you mean rollouts?")),
        (("--set", "name=mine"), ("is to keep its name and task", "tdlens run")),
    ],
)
def test_mistakes_show_before_anything_runs(
    fresh: Workplace, invoke: Invoke, asked: list[Study], arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    refused(invoke(fresh, *REPRODUCE, *arguments), *parts)
    assert asked == []
    assert not fresh.home.exists()


def test_questions_that_are_missing_show_before_the_study_that_needs_none(
    fresh: Workplace, invoke: Invoke, asked: list[Study], tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    model = str(welfare_model(tmp_path_factory.getbasetemp()))
    command = ("reproduce", "welfare-axis", "--no-mlflow", "--model", model)
    refused(invoke(fresh, *command), "nothing to ask this model", "steering.data.confidence")
    files = data_files(tmp_path)
    changes = [f"--set=maze:steering.data.{name}={file}" for name, file in files.items()]
    Path(files["refusal"]).unlink()
    refused(invoke(fresh, *command, *changes), "refusal.jsonl", "Mend steering.data.refusal")
    refused(invoke(fresh, *command, "--studies", "qwen3_4b", "--quick"), "confidence.jsonl")
    assert asked == []
    data_files(tmp_path)
    invoke(fresh, *command, *changes, "--studies", "qwen3_4b", "--quick", "--engine", "hf")
    two_step, maze = asked
    assert (two_step.name, maze.name) == ("welfare_two_step", "welfare_axis")
    for study, task in ((two_step, "two_step"), (maze, "maze")):
        assert study.task.rollouts < load(study_file(f"{task}_qwen3_4b")).task.rollouts
    assert maze.concepts.per_class < load(study_file("maze_qwen3_4b")).concepts.per_class


def test_a_paper_on_one_model_has_no_siblings(fresh: Workplace, invoke: Invoke, asked: list[Study]) -> None:
    result = invoke(fresh, "reproduce", "dqn-saes", "--no-mlflow", "--studies", "llama3_70b")
    refused(result, "dqn-saes has no studies of llama3_70b", "Leave --studies out")
    assert asked == []


def test_an_unknown_paper_or_study_is_named(fresh: Workplace, invoke: Invoke) -> None:
    for arguments, known in (
        (("reproduce", "td-in-lms"), "td-in-llms"),
        ((*REPRODUCE, "--only", "bandit"), "two_step"),
    ):
        result = invoke(fresh, *arguments)
        assert result.exit_code == 2
        assert known in result.stderr


def test_the_page_is_written_again_from_the_record(fresh: Workplace, invoke: Invoke) -> None:
    refused(invoke(fresh, "report", "td-in-llms"), "None of the paper's studies", "tdlens reproduce td-in-llms")
    record = fresh.record()
    write_reading(record, "graph_walk", World())
    record.close()
    result = invoke(fresh, "report", "td-in-llms")
    assert result.exit_code == 0, result.stderr
    page = Path(result.stdout.strip())
    assert page == fresh.home / "reports" / "td-in-llms" / "index.html"
    assert "Headline numbers" in page.read_text(encoding="utf-8")
