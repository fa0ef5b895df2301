"""The disk fills up in the middle of a run: exit code 2 with the place and the remedy, and with space it goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tdlens.record.migrate import upgrade
from tdlens.settings import Settings
from tests.faults.places import DATABASES, Place, Rows, database, storm
from tests.faults.preloaded import Preloaded
from tests.faults.storm_study import UNITS
from tests.postgres_server import give, postgres_server

PLAYS = 12
ALL = UNITS * PLAYS
EXECUTORS = {"inline": (), "local": ("--executor", "local", "--workers", "2")}


@dataclass(frozen=True)
class SmallDisk:
    """A file system in memory."""

    folder: Path

    def resize(self, kilobytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", self.folder], check=True)

    @property
    def used(self) -> int:
        """Kilobytes."""
        about = os.statvfs(self.folder)
        return (about.f_blocks - about.f_bfree) * about.f_frsize // 1024


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """A disk of 64 MB, to be made smaller; skips where nothing may be mounted."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def check(place: Place, rows: Rows) -> None:
    jobs = place.query("SELECT state FROM job")
    assert len(jobs) == ALL and set(jobs.state) == {"done"}
    assert place.rows() == rows
    assert place.damage() == []


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_home_is_full(
    kind: str, executor: str, preloaded: Preloaded, tmp_path: Path, storm_rows: Callable[[int], Rows]
) -> None:
    with small_disk(tmp_path / "small") as disk, database(kind, disk.folder / "home") as settings:
        place = storm(preloaded, tmp_path / "study", settings, plays=PLAYS, seconds=0.0)
        settings.home.mkdir(exist_ok=True)
        # at first there is room for a few units, then hardly for a log
        for room in (200, 24):
            disk.resize(disk.used + room)
            full = place.run(*EXECUTORS[executor])
            assert full.returncode == 2, full.said
            assert "Error: The disk is full" in full.said, full.said
            assert f"{disk.folder}" in full.said and "Free some space" in full.said
            assert "Traceback" not in full.said
            preloaded.rest(settings.home)
        disk.resize(64 * 1024)
        states = set(place.query("SELECT state FROM job").state)
        assert states <= {"pending", "lost", "done"} and states != {"done"}, states
        assert place.damage() == []
        done = place.run(*EXECUTORS[executor])
        assert done.returncode == 0, done.said
        check(place, storm_rows(PLAYS))


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_servers_disk_is_full(
    executor: str, preloaded: Preloaded, tmp_path: Path, storm_rows: Callable[[int], Rows], short: Path
) -> None:
    with small_disk(short / "small") as disk, postgres_server(short) as server:
        space = disk.folder / "space"
        space.mkdir()
        give(space)
        server.administer(f"CREATE TABLESPACE small LOCATION '{space}'")
        server.administer("CREATE DATABASE tdlens TABLESPACE small")
        settings = Settings(tmp_path / "home", server.address("tdlens"))
        upgrade(settings)
        place = storm(preloaded, tmp_path, settings, plays=PLAYS, seconds=0.0)
        disk.resize(disk.used + 400)
        full = place.run(*EXECUTORS[executor])
        assert full.returncode == 2, full.said
        assert "Error: The disk of the database" in full.said and "Free some space on the server" in full.said
        assert "Traceback" not in full.said
        preloaded.rest(settings.home)
        disk.resize(128 * 1024)
        states = set(place.query("SELECT state FROM job").state)
        assert states <= {"pending", "lost", "leased", "done"} and states != {"done"}, states
        done = place.run(*EXECUTORS[executor])
        assert done.returncode == 0, done.said
        check(place, storm_rows(PLAYS))
