"""Models are found, checked and loaded, and every way this can fail says what to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import small_games
from transformers import AutoModelForCausalLM

from jobs.inference import files
from jobs.inference.base import TokenBatch
from jobs.inference.fingerprint import hash_files
from jobs.inference.models import load_engine
from jobs.inference.play import play
from tdlens.errors import UserError

ROW = TokenBatch.from_rows([[5, 9, 200, 31]], pad_id=0)
LAST = torch.tensor([[3]])


def test_a_saved_model_plays_and_is_described(saved: Path) -> None:
    engine = load_engine(str(saved))
    taken: list[dict[int, torch.Tensor]] = []
    play(engine, small_games(2), capture=[3], take=taken.append, seed=0)
    assert taken[0][3].shape == (2, 8, 32)
    described = engine.describe()
    assert (described.architecture, described.n_blocks, described.dtype) == ("LlamaForCausalLM", 3, "float32")
    assert described == load_engine(str(saved)).describe()


def test_the_fingerprint_follows_weights_and_configuration_but_not_dtype(saved: Path) -> None:
    before = load_engine(str(saved)).describe().fingerprint
    half = load_engine(str(saved), dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    assert half.describe().fingerprint == before
    weights = load_file(saved / "model.safetensors")
    weights["model.norm.weight"][0] += 1e-3
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    changed = load_engine(str(saved)).describe().fingerprint
    assert changed != before
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    assert load_engine(str(saved)).describe().fingerprint not in (before, changed)


def test_an_untrained_model_has_the_same_shape_and_weights_of_its_seed(saved: Path) -> None:
    trained = load_engine(str(saved))
    state = torch.get_rng_state()
    one, again, other = (load_engine(str(saved), untrained_seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    engines = (trained, one, again, other)
    results = [engine.forward(ROW, positions=LAST, capture=[3]).activations[3] for engine in engines]
    assert torch.equal(results[1], results[2])
    assert not torch.allclose(results[0], results[1])
    assert not torch.allclose(results[1], results[3])
    assert one.describe() == again.describe()
    assert len({engine.describe().fingerprint for engine in (trained, one, other)}) == 3
    assert one.describe().n_parameters == trained.describe().n_parameters


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/no/such/model", "at /no/such/model"),
        ("./nearby", "no model at"),
        ("a/b/c", "no model at a/b/c"),
    ],
)
def test_a_missing_path_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_engine(name)
    assert "folder that exists" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "message", "remedy"),
    [
        ("nobody/no-model", "isn't complete in the hub's cache", "without a network"),
        ("gpt2", "isn't complete in the hub's cache", "without a network"),
        ("not an id", "neither as a folder nor on the Hugging Face hub", "organisation/name"),
    ],
)
def test_a_hub_model_that_is_not_to_be_had_is_refused(
    name: str, message: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nonexistent")
    with pytest.raises(UserError, match=message) as caught:
        load_engine(name)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("file", "message", "remedy"),
    [
        ("config.json", "has no config.json", "save_pretrained"),
        ("model.safetensors", "has no weights", "save_pretrained"),
        ("tokenizer.json", "has no tokenizer", "tokenizer.save_pretrained"),
    ],
)
def test_an_incomplete_folder_is_refused(saved: Path, file: str, message: str, remedy: str) -> None:
    (saved / file).unlink()
    with pytest.raises(UserError, match=message) as caught:
        load_engine(str(saved))
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("name", sorted(files.SHIPPED))
def test_a_missing_shipped_model_says_how_to_make_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(files.SHIPPED, name, replace(files.SHIPPED[name], folder=tmp_path / "none"))
    with pytest.raises(UserError) as caught:
        load_engine(name)
    assert f"tdlens {files.SHIPPED[name].command} --out" in caught.value.remedy


def test_damaged_weights_are_refused(saved: Path) -> None:
    weights = saved / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[:1000], whole[:-1000]):
        weights.write_bytes(damaged)
        with pytest.raises(UserError, match="can't be loaded"):
            load_engine(str(saved))


def sharded(saved: Path) -> Path:
    """The same model in several shards with an index."""
    weights = saved / "model.safetensors"
    AutoModelForCausalLM.from_pretrained(saved).save_pretrained(saved, max_shard_size="50KB")
    weights.unlink()
    assert len(list(saved.glob("*.safetensors"))) > 2
    return saved


def test_an_index_that_names_a_missing_shard_is_refused(saved: Path) -> None:
    load_engine(str(sharded(saved)))
    first, second, *_ = sorted(saved.glob("*.safetensors"))
    second.unlink()
    with pytest.raises(UserError, match=f"has no {second.name} that model.safetensors.index.json names"):
        load_engine(str(saved))
    first.unlink()
    with pytest.raises(UserError, match=f"has no {first.name} and 1 more of the shards"):
        load_engine(str(saved))


@pytest.mark.parametrize("index", ["{", "{}", "[]", '{"weight_map": []}'])
def test_an_unreadable_index_is_refused(saved: Path, index: str) -> None:
    (sharded(saved) / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match=r"index.json can't be read"):
        load_engine(str(saved))


def test_a_shard_with_a_flipped_header_is_refused(saved: Path) -> None:
    shard = sorted(sharded(saved).glob("*.safetensors"))[1]
    whole = shard.read_bytes()
    for place in (0, 7, 9, 40):  # length of the header, its first brace, a name or shape within
        shard.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
        with pytest.raises(UserError, match="can't be loaded"):
            load_engine(str(saved))


def test_checksums_are_of_each_file_in_order_and_read_with_progress(saved: Path) -> None:
    files = [saved / "config.json", *sorted(sharded(saved).glob("*.safetensors"))]
    expected = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()
    steps: list[float] = []

    @contextmanager
    def progress(description: str, total: float) -> Iterator[Callable[[float], None]]:
        yield steps.append
        assert sum(steps) == pytest.approx(total)

    assert hash_files(saved, progress) == expected
    assert len(steps) == len(files)


def test_weights_that_lack_a_parameter_are_refused_rather_than_made_up(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lack 1 parameters, model.layers.1.mlp.up_proj.weight"):
        load_engine(str(saved))


@pytest.mark.parametrize("config", ["{", "{}", '{"model_type": "no-such-architecture"}'])
def test_an_unreadable_configuration_is_refused(saved: Path, config: str) -> None:
    (saved / "config.json").write_text(config)
    with pytest.raises(UserError, match="can't be loaded"):
        load_engine(str(saved))


def test_a_tokenizer_larger_than_the_model_is_refused(saved: Path) -> None:
    content = json.loads((saved / "tokenizer.json").read_text())
    content["model"]["vocab"] |= {f"extra{i}": 400 + i for i in range(9)}
    (saved / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="more than the model's 400"):
        load_engine(str(saved))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "abacus"}, "no engine 'abacus'"),
        ({"dtype": "int8"}, "no dtype 'int8'"),
        ({"device": "toaster"}, "no device 'toaster'"),
        ({"device": "cuda:77"}, "GPUs, so not 'cuda:77'"),
    ],
)
def test_options_that_do_not_exist_are_refused(saved: Path, arguments: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_engine(str(saved), **arguments)
