"""What a user can do wrong, and what can go wrong around them: one message, its remedy, exit code 2."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from typer.testing import Result

from tests.cli.conftest import Invoke
from tests.inference.tiny import tiny_model
from tests.tiny_study import Workplace, dump

RUN = ("run", "tiny.toml", "--no-report", "--no-mlflow")


def refused(result: Result, *parts: str) -> None:
    """Exit code 2, exactly one message with one remedy, and it says all of `parts`."""
    assert result.exit_code == 2, result.stderr
    said = " ".join(result.stderr.split())
    assert said.count("Error: ") == 1 and said.count("Fix: ") == 1 and "Traceback" not in said
    assert re.search(r"Fix: \S", said)
    for part in parts:
        assert part in said


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("task.rolouts=5", ("unknown key task.rolouts", "did you mean rollouts?")),
        ("sae.paper.epoch=5", ("unknown key sae.0.epoch", "did you mean epochs?")),
        ("tasks.rollouts=5", ("unknown key tasks", "did you mean task?")),
        ("task.rollouts=1", ("task.rollouts", "greater than or equal to 4")),
        ("task.rollouts=many", ("task.rollouts", "valid integer")),
        ("task.name=three_step", ("three_step",)),
        ('correlate.signals=["td_eror"]', ("td_eror",)),
        ("intervention.zero_td.sae=papr", ("papr",)),
        ("task.rollouts", ("is not key=value",)),
        ("model.engine=vllm", ("model.engine", "'hf' or 'deepspeed'")),
    ],
)
def test_study_mistakes(fresh: Workplace, invoke: Invoke, setting: str, parts: tuple[str, ...]) -> None:
    refused(invoke(fresh, *RUN, "--set", setting), *parts)


def test_study_file(fresh: Workplace, invoke: Invoke, tmp_path: Path) -> None:
    refused(invoke(fresh, "run", "nowhere.toml"), "no study file nowhere.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    refused(invoke(fresh, "run", str(broken)), "not a TOML file", "Invalid value")


def test_missing_model(fresh: Workplace, invoke: Invoke) -> None:
    refused(invoke(fresh, *RUN, "--model", "/nowhere/model"), "There is no model at /nowhere/model")


def test_tokenizer_that_splits_an_action(fresh: Workplace, invoke: Invoke, tmp_path: Path) -> None:
    letters = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(pre_tokenizers.ByteLevel.alphabet())}, merges=[]))
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tiny_model("llama").save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=letters).save_pretrained(tmp_path)
    refused(invoke(fresh, *RUN, "--model", str(tmp_path)), "left", "tokens")


def test_corrupt_shard_is_found_named_and_repaired(copied: Workplace, invoke: Invoke) -> None:
    record = copied.record()
    before = dump(record)
    blob = record.query("SELECT blob, suffix FROM v_activation_shard ORDER BY block LIMIT 1").iloc[0]
    path = record.blobs.path(blob.blob, blob.suffix)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    refused(invoke(copied, *RUN, "--set", "sae.paper.epochs=1"), str(path), "corrupt", "tdlens doctor")
    found = invoke(copied, "doctor", "--full")
    assert found.exit_code == 1 and str(path) in found.stdout and "made by play standard" in found.stdout
    assert invoke(copied, "doctor").exit_code == 0  # sizes are right: only --full reads the content
    repaired = invoke(copied, "doctor", "--repair")
    assert repaired.exit_code == 0 and "forgot play standard" in repaired.stderr
    assert invoke(copied, *RUN).exit_code == 0
    assert dump(record) == before
    record.close()


def test_missing_shard(copied: Workplace, invoke: Invoke) -> None:
    record = copied.record()
    blob = record.query("SELECT blob, suffix FROM v_activation_shard ORDER BY block LIMIT 1").iloc[0]
    record.close()
    record.blobs.path(blob.blob, blob.suffix).unlink()
    refused(invoke(copied, *RUN, "--set", "sae.paper.epochs=1"), blob.blob, "missing")
    assert invoke(copied, "doctor").exit_code == 1


@pytest.mark.parametrize("version", ["9999", "0000"])
def test_another_schema_version(copied: Workplace, invoke: Invoke, version: str) -> None:
    record = copied.record()
    with record.session() as session:
        session.execute(text("UPDATE tdlens_version SET version_num = :version"), {"version": version})
    record.close()
    for command in (RUN, ("db", "check"), ("report", "tiny"), ("sync-mlflow",)):
        refused(invoke(copied, *command), version, "schema")
    doctor = invoke(copied, "doctor")
    assert doctor.exit_code == 1 and version in doctor.stdout


def test_full_disk_under_the_blobs(
    fresh: Workplace, invoke: Invoke, done: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(_: object) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr("tdlens.blobs.flush", fail)
        refused(invoke(fresh, *RUN), "The disk is full", str(fresh.home / "blobs"), "run the command again")
    assert not list((fresh.home / "blobs" / "unfinished").iterdir())
    assert "failed" in invoke(fresh, "status").stdout
    assert invoke(fresh, *RUN).exit_code == 0
    ours, theirs = fresh.record(), done.record()
    assert dump(ours) == dump(theirs)
    ours.close()
    theirs.close()


def test_full_disk_under_the_database(fresh: Workplace, invoke: Invoke, done: Workplace) -> None:
    assert invoke(fresh, "db", "upgrade").exit_code == 0
    pages = (fresh.home / "tdlens.db").stat().st_size // 4096

    def limit(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages + 40}")

    event.listen(Engine, "connect", limit)  # SQLite then says the same as on a full disk
    try:
        refused(invoke(fresh, *RUN), "The disk is full", "tdlens.db")
    finally:
        event.remove(Engine, "connect", limit)
    assert invoke(fresh, *RUN).exit_code == 0
    ours, theirs = fresh.record(), done.record()
    assert dump(ours) == dump(theirs)
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    "command", [RUN, ("sql", "SELECT 1"), ("status",), ("db", "check"), ("show", "latents", "--signal", "x")]
)
def test_unreachable_postgresql(fresh: Workplace, invoke: Invoke, command: tuple[str, ...]) -> None:
    address = "postgresql+psycopg://someone:secret@127.0.0.1:1/nothing"
    result = invoke(fresh, *command, TDLENS_DATABASE_URL=address)
    refused(result, "can't be reached", "127.0.0.1:1", "TDLENS_DATABASE_URL")
    assert "secret" not in result.stderr


def test_unreachable_mlflow_is_a_warning_for_run_only(copied: Workplace, invoke: Invoke) -> None:
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    result = invoke(copied, "run", "tiny.toml", "--no-report", **away)
    assert result.exit_code == 0
    assert "Warning: MLflow at http://127.0.0.1:1 can't be written" in result.stderr
    assert "tdlens sync-mlflow" in result.stderr and "Traceback" not in result.stderr
    refused(invoke(copied, "sync-mlflow", **away), "http://127.0.0.1:1")


def test_damaged_mlflow_database_is_a_warning(copied: Workplace, invoke: Invoke) -> None:
    (copied.home / "mlflow.db").write_text("no database")
    result = invoke(copied, "run", "tiny.toml", "--no-report")
    assert result.exit_code == 0 and "Warning: MLflow" in result.stderr and "delete it first" in result.stderr


def test_interrupted(fresh: Workplace, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.stages.train_sae.run", interrupt)
    result = invoke(fresh, *RUN)
    assert result.exit_code == 130 and "same command goes on" in " ".join(result.stderr.split())


@pytest.mark.parametrize("arguments", [("runn",), ("run",), ("sql", "SELECT 1", "--format", "xml"), ("run", "--nope")])
def test_usage_errors(fresh: Workplace, invoke: Invoke, arguments: tuple[str, ...]) -> None:
    assert invoke(fresh, *arguments).exit_code == 2


def test_the_installed_command_exits_with_2(fresh: Workplace) -> None:
    result = fresh.tdlens("run", "nowhere.toml")
    assert result.returncode == 2
    assert result.stdout == "" and result.stderr.splitlines()[0] == "Error: no study file nowhere.toml"
    assert result.stderr.splitlines()[1].startswith("  Fix: give the path")


def test_sql_output_place(done: Workplace, invoke: Invoke, tmp_path: Path) -> None:
    refused(
        invoke(done, "sql", "SELECT 1 AS x", "--format", "csv", "--output", str(tmp_path / "no" / "x.csv")),
        "can't be written",
    )
