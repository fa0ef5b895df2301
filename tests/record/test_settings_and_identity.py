"""Settings, canonical JSON and provenance."""

import json
import os
import pickle
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdlens import provenance as module
from tdlens.errors import UserError
from tdlens.identity import canonical_json, digest
from tdlens.provenance import provenance
from tdlens.settings import Settings

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers()
SCALARS = st.none() | st.booleans() | NUMBERS | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def shuffled(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict):
        items = [(key, shuffled(item, chance)) for key, item in value.items()]
        chance.shuffle(items)
        return dict(items)
    return [shuffled(item, chance) for item in value] if isinstance(value, list) else value


@settings(max_examples=40)
@given(VALUES, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(value: Any, chance: random.Random) -> None:
    assert canonical_json(value) == canonical_json(shuffled(value, chance))


@settings(max_examples=40)
@given(VALUES)
def test_canonical_json_says_everything(value: Any) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


@settings(max_examples=40)
@given(VALUES, VALUES)
def test_different_values_have_different_hashes(first: Any, second: Any) -> None:
    assert (digest(first) == digest(second)) == (canonical_json(first) == canonical_json(second))
    assert first == second or digest(first) != digest(second)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_json_cannot_write_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest({"a": [1.0, number]})


@pytest.mark.parametrize("value", [{1: "a"}, {"a": {None: 1}}, [{True: 1}], {"a": {1, 2}}, Path("a")])
def test_what_would_be_ambiguous_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        digest(value)


def test_the_hash_is_the_same_for_ever() -> None:
    value = {"b": [1, 2.5, None, True], "a": "é"}
    assert canonical_json(value) == '{"a":"\\u00e9","b":[1,2.5,null,true]}'
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_environment({"TDLENS_DATABASE_URL": ""})
    assert settings.home == tmp_path / ".tdlens"
    assert settings.sqlite_path == tmp_path / ".tdlens" / "tdlens.db"
    assert settings.mlflow_uri == f"sqlite:///{tmp_path}/.tdlens/mlflow.db"
    assert not settings.home.exists()


def test_home_and_postgresql(tmp_path: Path) -> None:
    url = "postgresql://me:p%40ss@db:5433/tdlens"
    settings = Settings.from_environment({"TDLENS_HOME": str(tmp_path), "TDLENS_DATABASE_URL": url})
    assert settings.database_url == "postgresql+psycopg://me:p%40ss@db:5433/tdlens"
    assert settings.database == "postgresql+psycopg://me:***@db:5433/tdlens"
    assert settings.sqlite_path is None
    assert settings.blobs == tmp_path / "blobs"


def test_relative_sqlite_path_does_not_follow_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_environment({"TDLENS_DATABASE_URL": "sqlite:///some where/x.db"})
    monkeypatch.chdir("/")
    assert settings.sqlite_path == tmp_path / "some where" / "x.db"


@pytest.mark.parametrize(
    "url",
    [
        *("nonsense", "mysql://me@db/x", "postgresql+psycopg2://me:hidden@db/x", "postgresql://me@db"),
        *("sqlite://", "sqlite:///:memory:", "http://me:hidden@db", "me:hidden@host"),
    ],
)
def test_unusable_addresses_say_what_to_do(url: str) -> None:
    with pytest.raises(UserError, match="TDLENS_DATABASE_URL") as caught:
        Settings.from_environment({"TDLENS_DATABASE_URL": url})
    assert "postgresql+psycopg://" in caught.value.remedy
    assert "hidden" not in str(caught.value)


def test_errors_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UserError("What.", "Then.")))  # noqa: S301
    assert (error.message, error.remedy) == ("What.", "Then.")


def git(folder: Path, *arguments: str) -> str:
    identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b"}
    identity |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | identity).stdout


def test_provenance_names_commit_and_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "a.py").write_text("1")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "x")
    monkeypatch.setattr(module, "source_root", lambda: tmp_path)
    (tmp_path / "notes.txt").write_text("not code")
    clean = provenance()
    assert clean.git_commit == git(tmp_path, "rev-parse", "HEAD").strip()
    assert clean.git_dirty is False
    (tmp_path / "envs" / "b.py").write_text("2")
    assert provenance().git_dirty is True


def test_provenance_of_an_installed_package_claims_no_commit_but_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "source_root", lambda: None)
    monkeypatch.setenv("TDLENS_COMMIT", "abc")
    assert (provenance().git_commit, provenance().git_dirty) == ("abc", None)
    monkeypatch.setenv("TDLENS_COMMIT", "")
    found = provenance()
    assert (found.git_commit, found.git_dirty) == (None, None)
    assert {"python", "torch", "numpy", "tdlens"} <= found.versions.keys()
    assert {"gymnasium", "sb3-contrib", "stable-baselines3"} <= found.versions.keys()  # they train agents and policies
    assert found.device.startswith("cpu: ") and "cores" in found.device
