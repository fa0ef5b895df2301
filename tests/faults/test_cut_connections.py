"""Connections to PostgreSQL that are cut at any moment, also between a COMMIT and its answer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tdlens.settings import Settings
from tests.databases import SERVER
from tests.faults.cutting_proxy import cutting
from tests.faults.places import Place, Rows, database, storm
from tests.faults.preloaded import Preloaded
from tests.faults.storm_study import UNITS

PLAYS = 12
PATIENCE = 300.0
"""Seconds within which the study ends on a machine that is merely busy."""


def check(place: Place, rows: Rows) -> None:
    jobs = place.query("SELECT state, attempt FROM job")
    assert len(jobs) == UNITS * PLAYS and set(jobs.state) == {"done"}
    published = place.query("SELECT count(*) AS n FROM artifact WHERE name LIKE 'attempt %' GROUP BY job_id")
    assert len(published) == len(jobs) and set(published.n) == {1}
    assert place.rows() == rows
    assert place.damage() == []


@pytest.mark.slow
def test_all_connections_are_terminated_again_and_again(
    preloaded: Preloaded, tmp_path: Path, storm_rows: Callable[[int], Rows]
) -> None:
    with database("postgresql", tmp_path / "home") as settings:
        place = storm(preloaded, tmp_path, settings, plays=PLAYS, seconds=0.2)
        process, output = place.start_run(2)
        moments, terminated = random.Random(3), 0
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        administrator = SERVER.set(drivername="postgresql").render_as_string(hide_password=False)
        deadline = time.monotonic() + PATIENCE
        with psycopg.connect(administrator, autocommit=True) as connection:
            while terminated < 40 and process.poll() is None:
                time.sleep(moments.uniform(0.0, 0.6))
                # the first cuts come when units are computed: before, a run that can't begin says so and ends
                if preloaded.alive(settings.home).values() and any(settings.home.rglob("*.safetensors")):
                    terminated += len(connection.execute(kill, [settings.url.database]).fetchall())
                assert time.monotonic() < deadline, output.read_text()
        assert process.wait(PATIENCE) == 0, output.read_text()
        assert terminated >= 20
        check(place, storm_rows(PLAYS))


@pytest.mark.slow
@pytest.mark.parametrize("executor", [("inline",), ("local", "--workers", "2")], ids=["inline", "local"])
def test_cut_around_a_commit(
    executor: tuple[str, ...], preloaded: Preloaded, tmp_path: Path, storm_rows: Callable[[int], Rows]
) -> None:
    with database("postgresql", tmp_path / "home") as settings:
        url = settings.url
        with cutting(url.port or 5432, times=2, seed=8) as proxy:
            through = url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
            place = storm(preloaded, tmp_path, Settings(settings.home, through), plays=PLAYS, seconds=0.0)
            done = place.run("--executor", *executor)
            assert done.returncode == 0, done.said
        direct = storm(preloaded, tmp_path, settings, plays=PLAYS, seconds=0.0)
        said = done.said + "".join(log.read_text() for log in (settings.home / "logs").rglob("*.log"))
        assert proxy.left == {True: [], False: []}
        # an attempt whose COMMIT arrived isn't taken for somebody else's
        assert "given to another worker" not in said
        check(direct, storm_rows(PLAYS))
