"""A cluster for the tests of this folder; its packages are unpacked by fetch.sh into the folder TDLENS_SLURM."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tdlens.settings import Settings
from tests.databases import emptied, migrated_postgres
from tests.slurm.cluster import Cluster, problem, running
from tests.slurm.site import Rows, Site
from tests.tiny_study import dump, finished, workplace

__all__ = ["migrated_postgres"]

FOLDER = Path(os.environ.get("TDLENS_SLURM") or Path(__file__).parents[2] / ".slurm")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes; shared by the tests."""
    reason = problem(FOLDER)
    if reason is not None:
        if os.environ.get("TDLENS_REQUIRE_SLURM") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with running(FOLDER / "root", tmp_path_factory.mktemp("slurm") / "cluster") as cluster:
        yield cluster


@pytest.fixture
def site(
    slurm: Cluster,
    migrated_postgres: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    """The cluster with two idle nodes, an empty record, and this process on its login node."""
    slurm.clear()
    place = workplace(tmp_path_factory.getbasetemp(), tmp_path / "home")
    with emptied(Settings(place.home, migrated_postgres)) as record:
        made = Site(slurm, place, record, tmp_path / "python")
        made.prepare()
        for name in set(os.environ) - set(made.environment):
            monkeypatch.delenv(name)
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made
        slurm.clear()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The rows of an inline run."""
    record = finished(tmp_path_factory.getbasetemp()).record()
    rows = dump(record)
    record.close()
    return rows
