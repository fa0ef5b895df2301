"""A hundred SIGKILLs on either database over a study on four workers: every unit is done once, with the same rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tdlens.settings import Settings
from tests.faults.places import Rows, storm
from tests.faults.preloaded import Preloaded
from tests.faults.storm_study import UNITS
from tests.faults.storms import Storm

PLAYS = 80
KILLS = 100
SECONDS = 0.1
"""That a unit takes on average."""


@pytest.mark.slow
def test_a_hundred_kills(
    own: Settings, preloaded: Preloaded, tmp_path: Path, storm_rows: Callable[[int], Rows]
) -> None:
    place = storm(preloaded, tmp_path, own, plays=PLAYS, seconds=SECONDS)
    moments = random.Random(own.url.get_backend_name())  # other ones on either database
    raging = Storm(place, workers=4, kills=KILLS, of_runs=6, delay=2 * SECONDS, random=moments)
    raging.rage()
    jobs = place.query("SELECT state, attempt, error FROM job")
    interrupted = int((jobs.attempt - 1).sum())
    print(f"killed {dict(raging.killed)}, {interrupted} while they held a unit; the run ended with {raging.runs}")
    assert raging.killed.total() >= KILLS
    assert interrupted >= KILLS // 4, "the kills don't meet units: their moments no longer fit the study"
    assert set(jobs.state) == {"done"} and len(jobs) == UNITS * PLAYS
    published = place.query("SELECT job_id, count(*) AS n FROM artifact WHERE name LIKE 'attempt %' GROUP BY job_id")
    assert len(published) == len(jobs) and set(published.n) == {1}
    assert place.rows() == storm_rows(PLAYS)
    assert place.damage() == []
    again = place.run()
    assert again.returncode == 0 and "0 units computed" in again.said
