"""A cluster for the tests of this folder; its packages are unpacked by fetch.sh into the folder TDLENS_SLURM."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, running

FOLDER = Path(os.environ.get("TDLENS_SLURM") or Path(__file__).parents[2] / ".slurm")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Two idle nodes."""
    if not (FOLDER / "unpacked").exists() or os.geteuid() != 0:
        reason = f"no Slurm in {FOLDER} (tests/slurm/fetch.sh unpacks it there), or not root"
        if os.environ.get("TDLENS_REQUIRE_SLURM") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with running(FOLDER / "root", tmp_path / "slurm") as cluster:
        yield cluster
