"""What Slurm is asked for, what is refused before and by it, and the jobs themselves without a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import submitit
from typer.testing import CliRunner

from jobs.cli import app
from jobs.executors import slurm
from jobs.executors.slurm import SlurmSettings, job_folder, minutes, pairs, parameters, submit_array
from jobs.study import load
from tdlens.errors import UserError
from tdlens.record import Record
from tdlens.settings import Settings
from tests.databases import emptied, sqlite_settings
from tests.tiny_study import Workplace, workplace


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return workplace(tmp_path_factory.getbasetemp(), tmp_path / "home")


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scheduler that takes every job, or refuses as the file `refusal` says; its folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = (
        f'#!/bin/sh\n[ -e {folder}/refusal ] && cat {folder}/refusal >&2 && exit 1\necho "Submitted batch job 17"\n'
    )
    for name in ("sbatch", "srun"):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def invoke(settings: Settings, place: Workplace, *options: str) -> Any:
    command = ["run", str(place.study), "--executor", "slurm", *options]
    return CliRunner().invoke(app, command, env=settings.environment | {"COLUMNS": "200"})


@pytest.mark.parametrize(("text", "expected"), [("90m", 90), ("24h", 1440), ("2d", 2880), (" 1 h ", 60)])
def test_times(text: str, expected: int) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["", "0h", "90", "1:00:00", "-1h", "1.5h", "h"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UserError, match="isn't a time") as refused:
        minutes(text)
    assert "24h" in refused.value.remedy


def test_a_time_limit_leaves_a_job_time_to_start() -> None:
    assert minutes("5m") == 5
    with pytest.raises(UserError, match="too short") as refused:
        minutes("4m")
    assert "5m" in refused.value.remedy


def test_further_options_of_sbatch() -> None:
    given = ("account=lab", "--mail-user=me@lab", "exclusive", "constraint=a100|h100", "export=ALL,A=1")
    assert pairs(given) == {
        "account": "lab",
        "mail-user": "me@lab",
        "exclusive": True,
        "constraint": "a100|h100",
        "export": "ALL,A=1",
    }


@pytest.mark.parametrize("text", ["", "=lab", "account=", "-A lab", "account lab"])
def test_what_is_no_option_of_sbatch(text: str) -> None:
    with pytest.raises(UserError, match="KEY=VALUE") as refused:
        pairs([text])
    assert "--slurm account=lab" in refused.value.remedy


def test_parameters_hold_only_what_was_asked() -> None:
    assert parameters(SlurmSettings(), "tiny") == {
        "name": "tdlens-tiny",
        "timeout_min": 1440,
        "slurm_array_parallelism": 1,
        "slurm_signal_delay_s": slurm.WARNING,
        "slurm_additional_parameters": {"requeue": True},
    }
    assert parameters(SlurmSettings(minutes=90), "tiny", "local") == {"name": "tdlens-tiny", "timeout_min": 90}


def test_what_sbatch_is_given(sbatch: Path, migrated_postgres: str, place: Workplace) -> None:
    options = ("--array", "3", "--partition", "gpu", "--gpus-per-node", "8", "--cpus-per-task", "16", "--mem", "1.5")
    more = ("--time", "2d", "--slurm", "account=lab", "--slurm", "exclusive")
    with emptied(Settings(place.home, migrated_postgres)) as record:
        ran = invoke(record.settings, place, *options, *more)
        assert ran.exit_code == 0, ran.output
        submissions = record.query("SELECT * FROM v_submission")
        assert list(submissions.scheduler_id) == ["17"] and list(submissions.executor) == ["slurm"]
        (script,) = (place.home / "slurm" / "1").glob("*submission.sh")
        lines = script.read_text().splitlines()
    asked = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert asked >= {
        "array=0-2%3", "partition=gpu", "gpus-per-node=8", "cpus-per-task=16", "mem=1536MB", "time=2880",
        "signal=USR2@90", "requeue", "open-mode=append", "account=lab", "exclusive", "job-name=tdlens-tiny",
    }  # fmt: skip
    (command,) = [line for line in lines if line.startswith("srun")]
    assert "--cpus-per-task=16" in command
    assert migrated_postgres not in script.read_text()


def test_a_refused_job_leaves_no_submission(sbatch: Path, migrated_postgres: str, place: Workplace) -> None:
    with emptied(Settings(place.home, migrated_postgres)) as record:
        for said, shown in (
            (
                "sbatch: error: invalid partition specified: moon\nsbatch: error: Batch job submission failed: no\n",
                "Slurm refuses: invalid partition specified: moon; Batch job submission failed: no",
            ),
            (
                "sbatch: unrecognized option '--foo=bar'\nTry \"sbatch --help\" for more information\n",
                "Slurm refuses: unrecognized option '--foo=bar'",
            ),
        ):
            (sbatch / "refusal").write_text(said)
            ran = invoke(record.settings, place, "--partition", "moon")
            assert ran.exit_code == 2
            assert f"Error: {shown}\n" in ran.stderr and "  Fix: Correct --partition" in ran.stderr
            assert "Traceback" not in ran.output
            assert record.query("SELECT * FROM v_submission").empty
        (sbatch / "refusal").unlink()
        assert invoke(record.settings, place).exit_code == 0
        assert len(record.query("SELECT * FROM v_submission")) == 1


def test_sqlite_is_refused(sbatch: Path, place: Workplace) -> None:
    ran = invoke(sqlite_settings(place.home), place)
    assert ran.exit_code == 2
    assert "SQLite" in ran.stderr and "TDLENS_DATABASE_URL" in ran.stderr and "--executor local" in ran.stderr
    record = Record.open(sqlite_settings(place.home))
    assert record.query("SELECT * FROM v_submission").empty
    record.close()


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        (("--engine", "deepspeed"), True),
        (("--engine", "deepspeed", "--cpus-per-task", "96"), False),
        (("--engine", "deepspeed", "--slurm", "cpus-per-gpu=12"), False),
        (("--engine", "hf"), False),
    ],
)
def test_one_core_for_many_ranks_is_warned_of(
    sbatch: Path, place: Workplace, options: tuple[str, ...], warned: bool
) -> None:
    ran = invoke(sqlite_settings(place.home), place, *options)
    assert ("Warning: without --cpus-per-task Slurm gives a worker one core" in ran.stderr) == warned


def test_a_machine_without_slurm_is_told_so(
    migrated_postgres: str, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with emptied(Settings(place.home, migrated_postgres)) as record:
        ran = invoke(record.settings, place)
        assert ran.exit_code == 2
        assert "no sbatch" in ran.stderr and "login node" in ran.stderr
        assert record.query("SELECT * FROM v_submission").empty


def test_what_a_job_unpickles_is_imported_at_once() -> None:
    code = "import jobs.executors.slurm_job, sys; sys.exit(bool({'torch', 'sqlalchemy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_job_runs_under_submitit_without_slurm(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record.open(sqlite_settings(place.home))
    for name, value in (place.environment | record.settings.environment).items():
        monkeypatch.setenv(name, value)
    limits = []
    start = submitit.local.local.start_controller

    def noted(*arguments: Any, **options: Any) -> Any:
        limits.append(options["timeout_min"])
        return start(*arguments, **options)

    monkeypatch.setattr(submitit.local.local, "start_controller", noted)
    submission = submit_array(record, load(place.study, []), SlurmSettings(), cluster="local")
    job = submitit.LocalJob(job_folder(record, submission), submission.scheduler_id)
    end = time.monotonic() + 300
    while not job.paths.result_pickle.exists():
        assert time.monotonic() < end, job.stderr()
        time.sleep(0.1)
    assert job.result() is None
    assert limits == [24 * 60]  # submitit's own default is two
    assert set(record.query("SELECT state FROM job").state) == {"done"}
    record.close()
