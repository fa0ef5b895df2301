"""Saved models for the tests of this folder, made once, and ranks that start at once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import cache

import pytest

from tests.faults import preloaded as forking
from tests.faults.preloaded import Preloaded
from tests.ranks.models import Saved, saved_model


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Saved]:
    """A model by its architecture."""
    return cache(lambda architecture: saved_model(architecture, tmp_path_factory.mktemp("models") / architecture))


@pytest.fixture(autouse=True)
def forked(preloaded: Preloaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Launchers and ranks are forked from a process that has imported what takes long."""
    monkeypatch.setenv(forking.ADDRESS, preloaded.address)
    monkeypatch.setattr(subprocess, "Popen", forking.start)
