"""The hub's real client against a hub on this machine: refusals, broken networks, pins, and work without a network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hub_server import BAD_TOKEN, GOOD_TOKEN, MODEL, NEW, OLD, POOR_TOKEN, Hub, served
from safetensors.torch import load_file, save_file
from tiny import byte_level_tokenizer, tiny_model

from jobs.inference import hub as hub_module
from jobs.inference.files import find_model
from jobs.inference.fingerprint import hash_files
from jobs.inference.models import load_engine
from tdlens.errors import UserError
from tests.jobs.small_study import QUICK, fresh_record, model_folder, run, study

NOBODY = "http://127.0.0.1:9"
"""Where nobody listens."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two commits of a model: the newer one has other weights."""
    old, new = (tmp_path_factory.mktemp(name) for name in ("old", "new"))
    tiny_model("llama").save_pretrained(old)
    byte_level_tokenizer().save_pretrained(old)
    shutil.copytree(old, new, dirs_exist_ok=True)
    weights = load_file(new / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, new / "model.safetensors", metadata={"format": "pt"})
    return old, new


@pytest.fixture
def hub(folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, and a client with an empty cache and no token."""
    with served(*folders) as hub:
        ask(hub.address, monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the client's attempts
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield hub


def ask(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what HF_ENDPOINT does where huggingface_hub isn't imported yet."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )


def refused(model: str = MODEL, revision: str = "main") -> str:
    with pytest.raises(UserError) as caught:
        find_model(model, revision)
    assert "Traceback" not in str(caught.value)
    assert "hf_" not in str(caught.value)  # no token
    return str(caught.value)


def test_a_model_is_downloaded_once_and_known_by_its_commit(hub: Hub, folders: tuple[Path, Path]) -> None:
    bars: Counter[str] = Counter()

    @contextmanager
    def progress(description: str, total: float) -> Iterator[object]:
        bars[f"{description} total"] += round(total * 1e6)
        yield lambda n: bars.update({description: round(n * 1e6)})

    files = find_model(MODEL, progress=progress)  # type: ignore[arg-type]
    assert files.source == f"{MODEL}@{NEW}"
    size = sum(len(content) for name, content in hub.commits[NEW].items())
    assert bars == {f"download {MODEL} (MB)": size, f"download {MODEL} (MB) total": size}
    assert hash_files(files.folder) == hash_files(folders[1])
    hub.requests.clear()
    assert find_model(MODEL) == files
    assert not [request for request in hub.requests if request.startswith("GET /" + MODEL)]


def test_a_pinned_commit_needs_no_network_any_more_and_a_branch_stands_for_what_it_did(
    hub: Hub, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = find_model(MODEL, OLD)
    assert pinned.source == f"{MODEL}@{OLD}"
    assert find_model(MODEL, "v1") == pinned
    newest = find_model(MODEL)
    hub.requests.clear()
    assert find_model(MODEL, OLD) == pinned
    assert not hub.requests
    fingerprint = load_engine(pinned).describe().fingerprint
    assert fingerprint == load_engine(str(folders[0])).describe().fingerprint != hash_files(newest.folder)
    ask(NOBODY, monkeypatch)
    assert find_model(MODEL, OLD) == find_model(MODEL, "v1") == pinned
    assert find_model(MODEL) == newest
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert find_model(MODEL) == newest


def test_configuration_and_tokenizer_come_without_the_weights(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    files = find_model(MODEL, NEW, weights=False)
    assert (files.folder / "tokenizer.json").is_file()
    assert not list(files.folder.glob("*.safetensors"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert find_model(MODEL, NEW, weights=False) == files
    assert "isn't complete in the hub's cache" in refused(revision=NEW)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert (find_model(MODEL, NEW).folder / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("token", "message", "remedy"),
    [
        (
            None,
            "is gated: its licence must be accepted first, and there is no token",
            "then log in with `hf auth login`",
        ),
        ("hf_nobody", "the account of this machine's token may not download it", "with that account"),
        (POOR_TOKEN, "may not read meta-llama/Tiny (403 Forbidden: Please enable", "In the token's settings"),
        (BAD_TOKEN, "doesn't accept this machine's token", "Make a new one"),
        ("hf_ключ", "has characters that no token has", "Copy it again"),
    ],
)
def test_a_gated_model_says_what_to_do(
    hub: Hub, token: str | None, message: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated = True
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    for revision in ("main", NEW):
        said = refused(revision=revision)
        assert message in said
        assert remedy in said
    assert "gated" not in message or f"{hub.address}/{MODEL}" in said


def test_an_accepted_licence_opens_a_gated_model(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated = True
    monkeypatch.setenv("HF_TOKEN", GOOD_TOKEN)
    files = find_model(MODEL, OLD)
    monkeypatch.setenv("HF_TOKEN", BAD_TOKEN)  # what is here stays usable
    assert find_model(MODEL, OLD) == files


def test_what_is_not_on_the_hub_is_refused(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no model at nobody/nothing" in refused("nobody/nothing")
    monkeypatch.setenv("HF_TOKEN", GOOD_TOKEN)
    assert "private and not yours to read" in refused("nobody/nothing")
    for revision in ("v9", "9" * 40):
        said = refused(revision=revision)
        assert f"has no revision {revision!r}" in said
        assert "model.revision" in said


def test_a_revision_of_a_folder_is_refused(saved: Path) -> None:
    for name in (str(saved), "reference"):
        with pytest.raises(UserError, match="no model of the Hugging Face hub, so it has no revision 'v1'"):
            find_model(name, "v1")


def test_no_network_is_said_so(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(NOBODY, monkeypatch)
    for revision in ("main", NEW):
        assert "can't be downloaded" in (said := refused(revision=revision))
        assert "Check the network" in said
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids" in refused()


def test_a_download_that_breaks_off_goes_on(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.cut = True
    assert "only what is missing is downloaded" in refused()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "aren't in the cache" in refused()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    hub.cut = False
    assert find_model(MODEL).source == f"{MODEL}@{NEW}"


def test_a_disk_too_small_is_refused_before_the_download(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    room = shutil.disk_usage("/")._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(hub_module.shutil, "disk_usage", lambda path: room)
        said = refused()
    assert re.search(r"cache, .*/cache, is full: .*meta-llama/Tiny needs \d\.\d GB more, and 0\.0 GB are free", said)
    assert "HF_HOME" in said
    assert not [request for request in hub.requests if request.startswith("GET /" + MODEL)]


def test_a_disk_that_fills_up_meanwhile_is_said_so(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("huggingface_hub.file_download._chmod_and_move", full)
    said = refused()
    assert "is full" in said
    assert "HF_HOME" in said


def test_a_file_damaged_in_the_cache_is_found(hub: Hub) -> None:
    files = find_model(MODEL)
    weights = files.folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.resolve().write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged") as caught:
        load_engine(files)
    assert f"rm {weights}" in caught.value.remedy
    for place in caught.value.remedy.rpartition("rm ")[2].split():
        Path(place).unlink()
    assert hash_files(find_model(MODEL).folder)


def test_the_record_keeps_where_a_model_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(model_folder(tmp_path)) as hub, fresh_record("sqlite", tmp_path / "home") as record:
        ask(hub.address, monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        wanted = study(
            tmp_path, QUICK, model={"name": MODEL}, correlate={"controls": []}, task={"variants": ["standard"]}
        )
        run(wanted, record)
        models = record.query("SELECT model, source FROM v_model")
    assert models.to_numpy().tolist() == [[MODEL, f"{MODEL}@{NEW}"]]


def test_the_command_line_says_it_in_two_lines(hub: Hub, tmp_path: Path) -> None:
    hub.gated = True
    recipe = Path(__file__).parents[2] / "studies/two_step_demo.toml"
    command = [sys.executable, "-c", "from jobs.cli import main; main()", "run", str(recipe), "--model", MODEL]
    environment = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_nobody"}
    environment |= {"TDLENS_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 2
    assert "Error: meta-llama/Tiny is gated" in result.stderr
    assert f"Fix: Accept the licence at {hub.address}/{MODEL}" in result.stderr
    assert "Traceback" not in result.stderr
    assert "hf_nobody" not in result.stderr + result.stdout
