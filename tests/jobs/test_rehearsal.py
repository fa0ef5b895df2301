"""Rehearsals: the study's own settings on random weights of its model's shape, cut to a few blocks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from filelock import FileLock
from rich.console import Console
from safetensors.torch import load_file
from transformers import AutoConfig, Qwen2Config

from envs import TASKS
from jobs.inference.files import SHIPPED
from jobs.inference.layout import Node
from jobs.inference.shapes import shipped_config
from jobs.rehearsal import Rehearsal, cut, nearest, shallower
from jobs.study import Study, load
from tdlens.errors import UserError
from tdlens.record import Record
from tdlens.settings import Settings
from tests.jobs.small_study import QUICK, VARIANTS, WIDTH, model_folder, study

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))
WITH_LESION = next(path for path in STUDIES if path.stem == "two_step_llama3_70b")
QUIET = Console(quiet=True)
DEPTH = 6


@pytest.fixture
def shape(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration and tokenizer of a model of six blocks, without weights."""
    folder = tmp_path / "shape"
    shutil.copytree(model_folder(tmp_path_factory.getbasetemp()), folder)
    (folder / "model.safetensors").unlink()
    config = AutoConfig.from_pretrained(folder)
    config.num_hidden_layers = DEPTH
    config.save_pretrained(folder)
    return folder


def of_shape(folder: Path, base: Path, data: dict[str, Any] = QUICK, **changes: Any) -> Study:
    return study(base, data, **{**changes, "model": {"name": str(folder), **changes.get("model", {})}})


def settings_in(home: Path) -> Settings:
    return Settings.from_environment({"TDLENS_HOME": str(home)})


def test_blocks_keep_their_order_and_only_the_last_becomes_the_last() -> None:
    assert [nearest(block, 80, 2) for block in (0, 1, 10, 40, 79, 80)] == [0, 1, 1, 1, 1, 2]
    assert [nearest(block, 80, 4) for block in (0, 1, 10, 40, 60, 79, 80)] == [0, 1, 1, 2, 3, 3, 4]
    for depth in (2, 3, 7, 32):
        for blocks in range(2, depth + 1):
            places = [nearest(block, depth, blocks) for block in range(depth + 1)]
            assert places == sorted(places)
            assert set(places) == set(range(blocks + 1))
            assert places.count(blocks) == places.count(0) == 1


def test_a_cut_study_differs_in_depth_and_rollouts_alone() -> None:
    whole = load(WITH_LESION, ["capture.blocks=[0, 10, 40, 80]", "intervention.td_zero.block=40"])
    smaller = cut(whole, depth=80, blocks=3, rollouts=4).study
    assert smaller.capture.blocks == (0, 1, 2, 3)
    assert smaller.intervention[0].block == 2
    assert smaller.task.rollouts == 4
    put_back = smaller.model_copy(
        update={
            "name": whole.name,
            "title": whole.title,
            "task": whole.task,
            "capture": whole.capture,
            "intervention": whole.intervention,
        }
    )
    assert put_back == whole
    assert smaller.task.model_copy(update={"rollouts": whole.task.rollouts}) == whole.task
    assert Study.model_validate(smaller.model_dump()) == smaller
    shallow = cut(load(WITH_LESION, ["capture.blocks=[0, 2, 4]"]), depth=4, blocks=8, rollouts=4)
    assert (shallow.blocks, shallow.study.capture.blocks) == (4, (0, 2, 4))


def test_a_lesion_of_several_blocks_is_cut_to_those_that_are_left() -> None:
    study = next(path for path in STUDIES if path.name == "grid_world_llama3_70b.toml")
    whole = load(study, ["intervention.td_zero.min_r=0.75", "intervention.td_clamp.from_block=0.9"])
    cuts = {blocks: cut(whole, depth=80, blocks=blocks, rollouts=4).study.intervention for blocks in (2, 6, 80)}
    shares = {blocks: (first.blocks, first.from_block, first.min_r) for blocks, (first, *_) in cuts.items()}
    assert shares == {2: (2, 1, None), 6: (4, 3, None), 80: (4, 40, None)}
    clamps = {blocks: (second.blocks, second.from_block) for blocks, (_, second, *_) in cuts.items()}
    assert clamps == {2: (1, 0.9), 6: (1, 0.9), 80: (4, 0.9)}


@pytest.mark.parametrize("change", ["capture.blocks=[3, 81]", "intervention.td_zero.block=81"])
def test_a_block_that_the_model_lacks_is_found(change: str) -> None:
    with pytest.raises(UserError, match="no block 81: the model has 80"):
        cut(load(WITH_LESION, [change]), depth=80, blocks=2, rollouts=4)


def test_edits_of_several_blocks_and_what_is_read_beside_are_cut_to_what_is_left() -> None:
    grid = next(path for path in STUDIES if path.stem == "grid_world_llama3_70b")
    changes = ["task.further_rollouts=30", "intervention.td_zero.from_block=41", "intervention.td_zero.min_r=0.75"]
    whole = load(grid, changes)
    assert whole.intervention[0].blocks == 4
    for blocks, (first, several) in {2: (1, 2), 3: (2, 2), 12: (6, 4)}.items():
        smaller = cut(whole, depth=80, blocks=blocks, rollouts=4).study
        lesion = smaller.intervention[0]
        assert (lesion.from_block, lesion.blocks, lesion.min_r) == (first, several, None)
        assert (smaller.task.rollouts, smaller.task.further_rollouts) == (4, 4)


def test_settings_of_each_block_are_cut_with_them() -> None:
    config = shallower(Qwen2Config(num_hidden_layers=5, layer_types=["full_attention"] * 5), 2)
    assert config.num_hidden_layers == len(config.layer_types) == 2


def test_a_rehearsal_runs_every_stage_and_leaves_the_record_alone(
    shape: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = of_shape(
        shape,
        tmp_path_factory.getbasetemp(),
        capture={"blocks": [1, 3, 6]},
        model={"dtype": "bfloat16", "batch_size": 3},
        sae=[{"name": "topk", "architecture": "topk", "options": {"k": 4, "centre": True}, "epochs": 1}],
        correlate={"controls": ["untrained"]},
        intervention=[{"name": "early", "sae": "topk", "block": 3}],
    )
    rehearsal = Rehearsal(wanted, settings_in(tmp_path / "home"), QUIET, blocks=2)
    monkeypatch.setattr("jobs.rehearsal.mkdtemp", lambda prefix, dir: str(kept(dir / "weights")))
    monkeypatch.setattr("jobs.rehearsal.shutil.rmtree", forgetful := Forgetful())
    found = rehearsal.run(report=False)
    weights = load_file(next(forgetful.folder.glob("model-00000.safetensors")))
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert sum(file.stat().st_size for file in forgetful.folder.glob("*.safetensors")) == pytest.approx(
        rehearsal.weight_bytes, rel=0.2
    )

    assert [path.name for path in (tmp_path / "home").iterdir()] == ["rehearsal"]
    assert found.report is None
    assert {time.stage for time in found.stages} >= {"play", "harvest", "train_sae", "correlate", "rank", "intervene"}
    assert found.tokens_per_second > 0
    assert found.host_bytes > 1e8
    play = next(time for time in found.stages if time.stage == "play")
    assert play.units == len(VARIANTS)
    assert play.most == pytest.approx(play.seconds * (6 / 4) * (DEPTH / 2))
    record = Record.open(settings_in(rehearsal.home))
    (current,) = record.query("SELECT study FROM v_study")["study"]
    assert current == "quick-rehearsal"
    models = record.query("SELECT DISTINCT n_blocks, d_model, dtype FROM v_model")
    assert models.to_numpy().tolist() == [[2, WIDTH, "bfloat16"]]
    assert sorted(record.query("SELECT DISTINCT block FROM v_activation_shard")["block"]) == [1, 2]
    assert list(record.query("SELECT block FROM v_intervention")["block"]) == [1]
    rollouts = record.query(
        "SELECT variant, count(DISTINCT rollout_index) AS n FROM v_episode WHERE policy = 'model' GROUP BY variant"
    )
    assert set(rollouts["n"]) == {4}
    record.close()


class Forgetful:
    """In place of ``shutil.rmtree``: remembers what was to be removed last."""

    folder = Path()

    def __call__(self, folder: Path, **options: Any) -> None:
        self.folder = folder


def kept(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_an_error_of_the_study_shows_and_nothing_stays_behind(
    shape: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = json.loads((shape / "config.json").read_text())
    (shape / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 32}))
    rehearsal = Rehearsal(of_shape(shape, tmp_path_factory.getbasetemp()), settings_in(tmp_path / "home"), QUIET)
    (rehearsal.home / "old").mkdir(parents=True)
    with pytest.raises(UserError, match="longer than the model's context of 32"):
        rehearsal.run()
    assert not list(rehearsal.home.glob("weights-*"))
    assert not (rehearsal.home / "old").exists()


def test_a_rehearsal_leaves_alone_what_another_one_of_the_study_does(
    shape: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rehearsal = Rehearsal(of_shape(shape, tmp_path_factory.getbasetemp()), settings_in(tmp_path / "home"), QUIET)
    (rehearsal.home / "theirs").mkdir(parents=True)
    with FileLock(f"{rehearsal.home}.lock"), pytest.raises(UserError, match="quick is being rehearsed already"):
        rehearsal.run()
    assert (rehearsal.home / "theirs").exists()


def test_a_disk_too_small_for_the_weights_is_refused(
    shape: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsal = Rehearsal(of_shape(shape, tmp_path_factory.getbasetemp()), settings_in(tmp_path / "home"), QUIET)
    monkeypatch.setattr("jobs.rehearsal.shutil.disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(UserError, match="random weights take") as caught:
        rehearsal.run()
    assert "--rehearse-blocks" in caught.value.remedy


def test_the_shape_of_llama_3_70b_is_two_blocks_of_its_own(
    shape: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = shipped_config("meta-llama/Meta-Llama-3-70B")
    assert config is not None
    config.save_pretrained(shape)
    wanted = of_shape(shape, tmp_path_factory.getbasetemp(), model={"dtype": "bfloat16"})
    rehearsal = Rehearsal(wanted, settings_in(tmp_path / "home"), QUIET)
    assert rehearsal.cut.depth == 80
    assert rehearsal.shape.d_model == 8192
    assert rehearsal.weight_bytes == 2 * (2 * 855_654_400 + 2 * 128_256 * 8192 + 8192)  # 7.6 GB


GB = 10**9


@pytest.mark.parametrize(
    ("node", "asked", "expected", "note"),
    [
        (Node(8, 80 * GB, 1000 * GB, "h100"), {}, {}, ""),
        (
            Node(1, 80 * GB, 1000 * GB, "h100"),
            {},
            {"layout": "zero3", "ranks": 1, "offload": "cpu"},
            "as all 80 blocks are: ZeRO-3 on 1 GPU",
        ),
        (Node(1, 80 * GB, 1000 * GB, "h100"), {"layout": "zero3", "offload": "cpu"}, {}, ""),
        (Node(1, 80 * GB, 64 * GB, "h100"), {}, {}, "All 80 blocks can't run on this machine: "),
    ],
)
def test_the_cut_model_is_shared_out_as_the_whole_one(
    node: Node,
    asked: dict[str, Any],
    expected: dict[str, Any],
    note: str,
    shape: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Node, "here", lambda: node)
    monkeypatch.setattr("jobs.rehearsal.find_device", lambda name: torch.device("cuda"))
    config = shipped_config("meta-llama/Meta-Llama-3-70B")
    assert config is not None
    config.save_pretrained(shape)
    model = {"dtype": "bfloat16", "engine": "deepspeed", "parallel": asked}
    wanted = of_shape(shape, tmp_path_factory.getbasetemp(), model=model)
    rehearsal = Rehearsal(wanted, settings_in(tmp_path / "home"), QUIET)
    assert rehearsal.parallel == wanted.model.parallel.model_copy(update=expected)
    assert note in rehearsal.layout_note
    assert bool(note) == bool(rehearsal.layout_note)


def test_what_llama_3_lacks_offline_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nonexistent")
    llama = next(path for path in STUDIES if "70b" in path.name)
    with pytest.raises(UserError, match="needs configuration and tokenizer of meta-llama/Meta-Llama-3-70B") as caught:
        Rehearsal(load(llama), settings_in(tmp_path), QUIET)
    assert "copy config.json, tokenizer.json" in caught.value.remedy
    assert "--model FOLDER" in caught.value.remedy


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_shipped_studies_are_valid_and_called_as_their_files(path: Path) -> None:
    wanted = load(path)
    assert wanted.name == path.stem
    if TASKS[wanted.task.name].seen is None and wanted.model.name not in SHIPPED:
        assert len(wanted.model.revision) == 40
