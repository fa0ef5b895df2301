"""``tdlens plan``: what it prints, what it refuses, and its numbers against a study that was run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tdlens.record import Record
from tests.cli.conftest import Invoke
from tests.tiny_study import Workplace

LLAMA = Path(__file__).parents[2] / "studies/two_step_llama3_70b.toml"
EIGHT = ("--gpu", "h100", "--gpus", "8", "--engine", "deepspeed")


@pytest.fixture
def numbers(done: Workplace, invoke: Invoke) -> dict[str, Any]:
    """The plan of the study that was run."""
    result = invoke(done, "plan", str(done.study), "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def written(record: Record, name: str) -> int:
    """Bytes of the blobs of one kind."""
    queries = {
        "shards": "SELECT sum(bytes) AS n FROM activation_shard JOIN blob ON blob.sha256 = activation_shard.blob",
        "autoencoders": "SELECT sum(bytes) AS n FROM sae_checkpoint JOIN blob ON blob.sha256 = sae_checkpoint.blob",
        "correlations": "SELECT sum(bytes) AS n FROM artifact JOIN blob ON blob.sha256 = artifact.blob "
        "WHERE artifact.name IN ('matrix', 'null')",
    }
    return int(record.query(queries[name])["n"].item())


def test_bytes_are_those_that_the_run_wrote(done: Workplace, numbers: dict[str, Any]) -> None:
    planned = numbers["bytes"]["disk"]
    record = done.record()
    # each of 4 shards and 2 checkpoints has a header
    assert written(record, "shards") == pytest.approx(planned["shards"], abs=4 * 256)
    assert written(record, "autoencoders") == pytest.approx(planned["autoencoders"], abs=2 * 1024)
    # features that never vary are left out
    assert 0.6 * planned["correlations"] < written(record, "correlations") <= planned["correlations"]
    record.close()


def test_tokens_are_those_that_the_model_read(done: Workplace, numbers: dict[str, Any]) -> None:
    record = done.record()
    of_the_model = "FROM step WHERE token_position IS NOT NULL GROUP BY rollout_id"  # the published ones have no tokens
    read = record.query(f"SELECT max(token_position) + 1 AS tokens {of_the_model}")["tokens"]
    decisions = record.query(f"SELECT count(*) AS n {of_the_model}")["n"]
    record.close()
    assert numbers["texts"]["measured"]
    assert numbers["texts"]["tokens"] == pytest.approx(read.mean(), rel=0.01)
    assert set(decisions) == {numbers["texts"]["decisions"]}


def test_units_are_those_of_the_ledger(done: Workplace, numbers: dict[str, Any]) -> None:
    record = done.record()
    units = record.query("SELECT stage, count(*) AS n FROM v_job GROUP BY stage").set_index("stage")["n"]
    record.close()
    planned = {stage["name"]: stage["units"] for stage in numbers["stages"]}
    assert planned == {name: int(units[name]) for name in planned}
    assert set(planned) == {"play", "train_sae", "correlate", "intervene"}


def test_the_model_is_that_of_the_record(done: Workplace, numbers: dict[str, Any]) -> None:
    record = done.record()
    (model,) = record.query("SELECT architecture, n_blocks, d_model, n_parameters FROM model").to_dict("records")
    record.close()
    assert {name: numbers["model"][name] for name in ("architecture", "n_blocks", "d_model")} == {
        name: model[name] for name in ("architecture", "n_blocks", "d_model")
    }
    assert numbers["model"]["parameters"] == model["n_parameters"]


def test_a_plan_records_nothing(fresh: Workplace, invoke: Invoke) -> None:
    result = invoke(fresh, "plan", str(fresh.study))
    assert result.exit_code == 0, result.stderr
    assert not fresh.home.exists()
    for part in ("whole model on 1 process", "20 decisions (with the model's tokenizer)", "intervene", "Binding:"):
        assert part in result.stdout


def test_llama_70b_without_network_and_without_the_model(fresh: Workplace, invoke: Invoke) -> None:
    result = invoke(
        fresh, "plan", str(LLAMA), *EIGHT, "--host-memory", "1000", "--disk-free", "2000", HF_HUB_OFFLINE="1"
    )
    assert result.exit_code == 0, result.stderr
    for part in (
        "sizes shipped with tdlens, as the model isn't on this machine",
        "tensor parallel on 8 GPUs of 80.0 GB: 141.1 GB of weights, 19.5 GB on each",
        "estimated from words",
        "GPU: 50% of 989 Tflop/s (h100)",
        "1.0 TB",
        "2.0 TB",
    ):
        assert part in result.stdout


REFUSED: list[tuple[tuple[str, ...], str, str]] = [
    (("--gpu", "h100", "--engine", "hf"), "141.1 GB of weights doesn't fit on 1 of 1 GPUs", "3 such GPUs with ZeRO-3"),
    ((*EIGHT[:4], "--engine", "hf"), "141.1 GB of weights doesn't fit on 1 of 8 GPUs", "--engine deepspeed"),
    ((*EIGHT, "--disk-free", "120"), "the whole study needs 139.", "--set capture.dtype=bfloat16"),
    ((*EIGHT, "--host-memory", "10"), "main memory: intervene needs", "a larger node"),
    (("--gpus", "0", "--host-memory", "100"), "doesn't fit in 100.0 GB of main memory", "a smaller model"),
    (("--gpu", "voodoo"), "The speed of a GPU called 'voodoo' isn't known", "h100"),
    (
        (*EIGHT, "--set", "model.parallel.layout=single", "--set", "model.parallel.ranks=8"),
        "one process, not 8",
        "zero3",
    ),
    ((*EIGHT, "--set", "capture.blocks=[99]"), "There is no block 99", "between 0 and 80"),
    (
        (*EIGHT, "--set", "task.settings.episodes=320"),
        "more than the model's context of 8,192",
        "Play fewer episodes",
    ),
]


@pytest.mark.parametrize(("options", "message", "remedy"), REFUSED)
def test_what_cannot_fit_is_refused_with_what_would(
    fresh: Workplace, invoke: Invoke, options: tuple[str, ...], message: str, remedy: str
) -> None:
    result = invoke(fresh, "plan", str(LLAMA), *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert remedy in result.stderr
    assert "Traceback" not in result.stderr


def test_a_plan_is_of_the_revision_that_is_asked_for(fresh: Workplace, invoke: Invoke) -> None:
    result = invoke(fresh, "plan", str(fresh.study), "--revision", "v1")
    assert result.exit_code == 2
    assert "so it has no revision 'v1'" in result.stderr


def test_a_refused_plan_is_shown_all_the_same(fresh: Workplace, invoke: Invoke) -> None:
    result = invoke(fresh, "plan", str(LLAMA), *EIGHT, "--disk-free", "120", "--json")
    assert result.exit_code == 2
    shown = json.loads(result.stdout)
    assert not shown["fits"]
    assert shown["binding"] == "disk space"


def test_a_gpu_must_be_named_where_there_is_none(
    fresh: Workplace, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = invoke(fresh, "plan", str(LLAMA), "--gpus", "4")
    assert result.exit_code == 2
    assert "no GPU to plan with" in result.stderr
