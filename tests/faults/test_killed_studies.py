"""The study of every stage, killed at random moments again and again, ends with the rows of an undisturbed run.

Each executor on the database that people use it with most; test_kills has workers killed on both.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tdlens.settings import Settings
from tests.faults.places import Rows, tiny
from tests.faults.preloaded import Preloaded
from tests.faults.storms import Storm


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "workers"), [("sqlite", 0), ("postgresql", 4)], indirect=["own"], ids=["sqlite-inline", "postgresql-local"]
)
def test_killed_runs_end_with_the_same_rows(
    own: Settings,
    workers: int,
    preloaded: Preloaded,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_rows: Rows,
) -> None:
    place = tiny(preloaded, tmp_path_factory.getbasetemp(), tmp_path / "study", own)
    kills = 8
    raging = Storm(place, workers, kills, of_runs=2 if workers else kills, delay=0.4, random=random.Random(1))
    raging.rage()
    jobs = place.query("SELECT state, attempt FROM job")
    interrupted = int((jobs.attempt - 1).sum())
    print(f"killed {dict(raging.killed)}, {interrupted} while they held a unit; the run ended with {raging.runs}")
    assert set(jobs.state) == {"done"}
    assert interrupted >= 1, "no kill met a unit: the moments no longer fit the study"
    assert -9 in raging.runs and raging.runs[-1] == 0
    assert place.rows() == tiny_rows

    with place.record() as record:
        known = {f"{blob.sha256}.{blob.suffix}" for blob in record.query("SELECT * FROM blob").itertuples()}
    files = {path for path in (place.settings.home / "blobs").rglob("*") if path.is_file()}
    assert known <= {path.name for path in files}
    left = {str(path) for path in files if path.name not in known}
    doctor = place.tdlens("doctor", "--full")
    assert doctor.returncode == 0, doctor.said
    named = {line.strip() for line in doctor.said.splitlines() if line.startswith(f"  {place.settings.home}")}
    assert {name.split(" ")[0] for name in named} == left
