"""Saved models for the tests of this folder, made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from tests.ranks.models import Saved, saved_model


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Saved]:
    """A model by its architecture."""
    return cache(lambda architecture: saved_model(architecture, tmp_path_factory.mktemp("models") / architecture))
