from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tdlens.settings import Settings
from tests.faults.places import DATABASES, Place, Rows, database, storm
from tests.faults.preloaded import Preloaded
from tests.tiny_study import finished


@pytest.fixture(params=DATABASES)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """An empty record of the test's own, on either database."""
    with database(request.param, tmp_path / "home") as settings:
        yield settings


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder that a server of another user reaches."""
    with tempfile.TemporaryDirectory(prefix="tdlens-postgres-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def storm_rows(preloaded: Preloaded, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Rows]:
    """The rows of the study of short units, of so many plays, after a run without disturbance."""

    @cache
    def rows(plays: int) -> Rows:
        folder = tmp_path_factory.mktemp("undisturbed-storm")
        with database("sqlite", folder / "home") as settings:
            place = storm(preloaded, folder, settings, plays=plays, seconds=0.0)
            done = place.run()
            assert done.returncode == 0, done.said
            return place.rows()

    return rows


@pytest.fixture(scope="session")
def tiny_rows(preloaded: Preloaded, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The rows of the tiny study of every stage after a run without disturbance."""
    done = finished(tmp_path_factory.getbasetemp())
    return Place(preloaded, done.study, done.settings).rows()
