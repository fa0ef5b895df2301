"""MLflow as a projection: what the record says is there, nothing twice, and all of it again when it was lost."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.store.tracking.rest_store import RestStore
from sqlalchemy import text

from tdlens.errors import UserError
from tdlens.record import Record
from tdlens.tracking import project, tracking_uri
from tdlens.tracking_content import flat, read_study
from tdlens.tracking_store import Tracking
from tests.faults.preloaded import Preloaded
from tests.tiny_study import Workplace, copy_of, finished

STAGES = {"published", "play", "signals", "behaviour", "train_sae", "correlate", "rank", "td_parts", "intervene"}


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The finished study; not to be changed."""
    return finished(tmp_path_factory.getbasetemp())


@pytest.fixture
def copied(done: Workplace, tmp_path: Path) -> Workplace:
    """The same record with a home that may be changed, without MLflow's files."""
    place = copy_of(done, tmp_path / "home")
    (place.home / "mlflow.db").unlink()
    shutil.rmtree(place.home / "mlartifacts")
    return place


@pytest.fixture(autouse=True)
def own_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def record(done: Workplace) -> Iterator[Record]:
    record = done.record()
    yield record
    record.close()


def runs(place: Workplace) -> dict[str, Any]:
    """Runs by stage; the study's own under its name."""
    client = MlflowClient(tracking_uri(place.settings))
    experiment = client.get_experiment_by_name("tdlens")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    named = {run.data.tags.get("tdlens.stage", run.data.tags.get("tdlens.study")): run for run in found}
    assert len(named) == len(found)
    return named


def histories(place: Workplace, run: Any) -> dict[str, dict[int, float]]:
    """All values of all metrics: straight from MLflow's table, its client asks for one metric at a time."""
    with closing(sqlite3.connect(place.home / "mlflow.db")) as connection:
        rows = connection.execute(
            "SELECT key, step, value FROM metrics WHERE run_uuid = ? ORDER BY key, step", [run.info.run_id]
        ).fetchall()
    found: dict[str, dict[int, float]] = {}
    for key, step, value in rows:
        assert step not in found.setdefault(key, {})
        found[key][step] = value
    return found


def series(place: Workplace, run: Any, key: str) -> dict[int, float]:
    return histories(place, run)[key]


def contents(place: Workplace) -> dict[str, Any]:
    """All that MLflow shows, without its own keys."""
    client = MlflowClient(tracking_uri(place.settings))
    shown: dict[str, Any] = {}
    for name, run in runs(place).items():
        tags = {k: v for k, v in run.data.tags.items() if k not in ("mlflow.parentRunId", "tdlens.identity")}
        inputs = sorted((i.dataset.name, i.dataset.digest, i.dataset.profile) for i in run.inputs.dataset_inputs)
        files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
        about = (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time)
        shown[name] = (about, run.data.params, tags, histories(place, run), inputs, files)
    experiment = client.get_experiment_by_name("tdlens")
    assert experiment is not None
    models = client.search_logged_models([experiment.experiment_id])
    shown["models"] = sorted(
        (m.name, m.params, sorted((f.path, f.file_size) for f in client.list_logged_model_artifacts(m.model_id)))
        for m in models
    )
    return shown


def test_one_run_with_one_nested_run_a_stage(done: Workplace) -> None:
    named = runs(done)
    assert set(named) == {"tiny"} | STAGES
    whole = named["tiny"]
    assert whole.info.run_name == "tiny (revision 1)"
    assert {named[s].data.tags["mlflow.parentRunId"] for s in STAGES} == {whole.info.run_id}
    for run in named.values():
        assert run.info.status == "FINISHED"
        assert run.data.tags["tdlens.study"] == "tiny" and run.data.tags["tdlens.revision"] == "1"
        assert {"tdlens.git_commit", "tdlens.git_dirty", "tdlens.device"} <= set(run.data.tags)
    assert whole.data.params["sae.paper.epochs"] == "2"
    assert whole.data.params["intervention.zero_td.operation"] == "zero"
    assert named["train_sae"].data.params["block"] == "1, 2"


def test_numbers_are_those_of_the_views(done: Workplace, record: Record) -> None:
    named = runs(done)

    def expected(sql: str) -> dict[int, float]:
        return {row.step: row.value for row in record.query(sql).itertuples(index=False)}

    for stage, key, sql in (
        (
            "play",
            "standard/return",
            "SELECT episode AS step, avg(return) AS value FROM v_episode WHERE policy = 'model'"
            " AND variant = 'standard' AND intervention = 'none' GROUP BY episode",
        ),
        ("train_sae", "paper/fvu", "SELECT block AS step, fvu AS value FROM v_sae"),
        (
            "behaviour",
            "myopic/nll",
            "SELECT 0 AS step, nll AS value FROM v_behaviour_fit"
            " WHERE behaviour_model = 'myopic' AND intervention = 'none'",
        ),
        (
            "rank",
            "sae/paper/td_error/r",
            "SELECT block AS step, max(r) AS value FROM v_latent_correlation WHERE signal = 'td_error' GROUP BY block",
        ),
        (
            "intervene",
            "zero_td/return/difference",
            "SELECT 0 AS step, difference AS value FROM v_intervention_effect"
            " WHERE intervention = 'zero_td' AND metric = 'return'",
        ),
        (
            "intervene",
            "zero_td/max_r_td_error/value",
            "SELECT effect_block AS step, value FROM v_intervention_effect"
            " WHERE intervention = 'zero_td' AND metric = 'max_r_td_error'",
        ),
    ):
        assert series(done, named[stage], key) == pytest.approx(expected(sql)), key
        assert series(done, named[stage], key), key


def test_training_history_has_a_value_an_epoch(done: Workplace, record: Record) -> None:
    history = series(done, runs(done)["train_sae"], "paper/block 1/loss")
    assert len(history) == 2
    last = record.query(
        "SELECT value FROM sae_metric JOIN sae_checkpoint ON id = sae_id WHERE sae_metric.name = 'loss' AND block = 1"
    )
    assert history[max(history)] == pytest.approx(last.value.item())


def test_captures_are_datasets_with_their_whole_checksum(done: Workplace, record: Record) -> None:
    inputs = runs(done)["play"].inputs.dataset_inputs
    assert len(inputs) == 2
    rows = len(record.query("SELECT 1 AS one FROM v_step WHERE policy = 'model' AND intervention = 'none'"))
    assert sum(json.loads(one.dataset.profile)["rows"] for one in inputs) == rows
    for one in inputs:
        tags = {tag.key: tag.value for tag in one.tags}
        assert len(tags["sha256"]) == 64 and tags["sha256"].startswith(one.dataset.digest)
        assert len(one.dataset.digest) <= 36


def test_autoencoders_are_logged_models(done: Workplace, record: Record, tmp_path: Path) -> None:
    from sae.checkpoint import from_bytes

    client = MlflowClient(tracking_uri(done.settings))
    experiment = client.get_experiment_by_name("tdlens")
    assert experiment is not None
    models = {m.name: m for m in client.search_logged_models([experiment.experiment_id])}
    assert set(models) == {"paper-block-1", "paper-block-2"}
    linked = {output.model_id for output in runs(done)["train_sae"].outputs.model_outputs}
    assert linked == {model.model_id for model in models.values()}
    model = models["paper-block-1"]
    folder = Path(model.artifact_location.removeprefix("file://"))
    assert json.loads((folder / "config.json").read_text())["block"] == 1
    (weights,) = folder.glob("*.safetensors")
    assert weights.stem == model.tags["tdlens.sha256"]
    assert from_bytes(weights.read_bytes()).decoder_rows().shape == (64, 32)


def test_figures_are_there(done: Workplace) -> None:
    figures = {path.name for path in (done.home / "reports" / "tiny").rglob("*.png")}
    client = MlflowClient(tracking_uri(done.settings))
    run = runs(done)["tiny"].info.run_id
    files = list(client.list_artifacts(run))
    names = {
        Path(file.path).name
        for top in files
        for file in (client.list_artifacts(run, top.path) if top.is_dir else [top])
    }
    assert figures and figures | {"index.html"} == names


def test_nothing_is_written_twice_and_all_of_it_again_when_lost(
    done: Workplace, copied: Workplace, preloaded: Preloaded, tmp_path: Path
) -> None:
    record = copied.record()
    assert project(record, "tiny") == 1 + len(STAGES)
    first = contents(copied)
    assert first == contents(done)
    assert project(record, "tiny") == 0
    assert contents(copied) == first
    record.close()
    (copied.home / "mlflow.db").unlink()
    shutil.rmtree(copied.home / "mlartifacts")
    # in processes of their own: in this one MLflow still holds the deleted file open
    output = tmp_path / "output"
    for named, written in ((), 1 + len(STAGES)), (("tiny",), 0):
        command = ("jobs.cli", "sync-mlflow", *named)
        assert preloaded.start(*command, environment=copied.environment, output=output).wait(120) == 0
        assert f"tiny: {written} runs written" in output.read_text().splitlines()[-1]
    assert contents(copy_of(copied, tmp_path / "again")) == first


def test_a_killed_projection_is_completed(done: Workplace, copied: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    record = copied.record()

    class Killed(BaseException):
        pass

    for call, method in ((1, "start"), (2, "log_points"), (1, "log_saes"), (3, "finish")):
        original = getattr(Tracking, method)
        calls = iter(range(100))

        def counted(*arguments: Any, _original: Any = original, _calls: Any = calls, _last: int = call) -> Any:
            if next(_calls) == _last:
                raise Killed
            return _original(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Tracking, method, counted)
            try:
                project(record, "tiny")
            except Killed:
                continue
    project(record, "tiny")
    assert contents(copied) == contents(done)
    record.close()


def test_a_changed_stage_replaces_its_run_and_no_other(copied: Workplace) -> None:
    record = copied.record()
    project(record, "tiny")
    before = {name: run.info.run_id for name, run in runs(copied).items()}
    with record.session() as session:
        session.execute(text("UPDATE job SET attempt = attempt + 1 WHERE stage = 'rank'"))
    assert project(record, "tiny") == 2
    after = {name: run.info.run_id for name, run in runs(copied).items()}
    assert {name for name in before if before[name] != after[name]} == {"rank"}
    record.close()


def test_values_longer_than_mlflow_takes_are_cut(copied: Workplace) -> None:
    from dataclasses import replace

    from tdlens.tracking_content import Point

    record = copied.record()
    tracking = Tracking.open(tracking_uri(copied.settings), copied.settings, "tdlens")
    run = read_study(record, "tiny").run
    many = {f"key {i} <&>": "x" * 7000 for i in range(230)}
    long = replace(run, params=many, tags={f"tag.{i}": "y" * 9000 for i in range(120)})
    key = tracking.start(long)
    tracking.log_points(key, long, (Point("m [1]", float(i), i) for i in range(2500)))
    tracking.finish(key, long)
    stored = tracking.client.get_run(key)
    assert len(stored.data.params) == 230 and {len(v) for v in stored.data.params.values()} == {6000}
    assert len(tracking.client.get_metric_history(key, "m _1_")) == 2500
    record.close()


def test_broken_mlflow_says_so_and_leaves_the_record_alone(copied: Workplace) -> None:
    (copied.home / "mlflow.db").write_bytes(b"not a database" * 1000)
    record = copied.record()
    with pytest.raises(UserError, match=r"MLflow at sqlite:.*mlflow.db can't be written") as caught:
        project(record, "tiny")
    assert "sync-mlflow" in caught.value.remedy
    assert len(record.query("SELECT * FROM v_step")) > 0
    record.close()


NESTED = st.recursive(
    st.integers() | st.booleans() | st.none() | st.text(max_size=5),
    lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), NESTED, max_size=5))
def test_flat_settings_lead_back_to_every_leaf(config: dict[str, Any]) -> None:
    def leaves(value: Any) -> int:
        return sum(map(leaves, value.values())) if isinstance(value, dict) else 1

    shown = flat(config)
    assert len(shown) == leaves(config)
    for key, value in shown.items():
        place: Any = config
        for part in key.split("."):
            place = place[part]
        assert value == (place if isinstance(place, str) else json.dumps(place))


def test_two_processes_may_make_the_experiment_at_once(copied: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Tracking.open(tracking_uri(copied.settings), copied.settings, "tdlens")
    look = MlflowClient.get_experiment_by_name
    answers = iter([None])  # the first look comes before the other process has made it
    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", lambda client, name: next(answers, look(client, name)))
    assert Tracking.open(tracking_uri(copied.settings), copied.settings, "tdlens").experiment == made.experiment


def test_a_servers_addresses_are_not_printed_among_results(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(RestStore, "update_run_info", lambda *_, **__: None)
    about: list[str] = []
    monkeypatch.setattr(RestStore, "get_run", lambda _, key: about.append(key))
    MlflowClient("http://127.0.0.1:9").set_terminated("key")
    assert about == [] and capsys.readouterr().out == ""
