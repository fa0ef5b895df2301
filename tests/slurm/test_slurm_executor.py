"""Studies on a real Slurm: an array over two nodes, preemption, a node that dies, cancellation."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tdlens.record import Record
from tdlens.settings import Settings
from tests.databases import require_postgres, temporary_database
from tests.slurm.cluster import Cluster
from tests.tiny_study import Workplace, dump, finished, workplace

LAZY = """
import importlib.abc, importlib.util, os, sys, time


class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "jobs.stages.train_sae":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def slowly(module):
            load(module)
            before = module.run

            def run(context, unit):
                time.sleep(float(os.environ["SECONDS_A_UNIT"]))
                return before(context, unit)

            module.run = run

        spec.loader.exec_module = slowly
        return spec


sys.meta_path.insert(0, Slow())
"""
"""As sitecustomize of the workers: training an autoencoder takes SECONDS_A_UNIT longer."""


@dataclass
class Site:
    """A cluster, and a study to run on it."""

    cluster: Cluster
    place: Workplace
    settings: Settings
    folder: Path

    def environment(self, seconds: float) -> dict[str, str]:
        """Of the command that submits; Slurm hands it on to the jobs."""
        path = f"{Path(sys.executable).parent}:{self.cluster.environment['PATH']}"
        slow = {"SECONDS_A_UNIT": str(seconds), "PYTHONPATH": str(self.folder)}
        return self.place.environment | self.cluster.environment | self.settings.environment | slow | {"PATH": path}

    def submit(self, *options: str, seconds: float = 0.0) -> str:
        """`tdlens run --executor slurm`; the Slurm job's number."""
        (self.folder / "sitecustomize.py").write_text(LAZY)
        command = [sys.executable, "-m", "jobs.cli", "run", str(self.place.study), "--executor", "slurm", *options]
        done = subprocess.run(
            command, env=self.environment(seconds), cwd=self.place.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "tdlens status --watch" in done.stderr
        record = Record.open(self.settings)
        number = record.query("SELECT scheduler_id FROM v_submission ORDER BY submission DESC").scheduler_id[0]
        record.close()
        return str(number)

    def states(self) -> dict[str, int]:
        """Units by state."""
        record = Record.open(self.settings)
        found = record.query("SELECT state, count(*) AS n FROM job GROUP BY state")
        record.close()
        return dict(zip(found.state, map(int, found.n), strict=True))

    def wait_for(self, condition: Callable[[dict[str, int]], bool], what: str, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not condition(self.states()):
            assert time.monotonic() < end, f"no {what}: {self.states()} {self.cluster.jobs()}\n{self.output()}"
            time.sleep(0.3)

    def output(self) -> str:
        """What the workers said."""
        return "\n".join(path.read_text()[-2000:] for path in self.settings.home.glob("slurm/*/*.err"))

    def owners(self) -> set[str]:
        """Processes that published."""
        record = Record.open(self.settings)
        found = set(record.query("SELECT owner FROM job").owner)
        record.close()
        return found


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    require_postgres()
    with temporary_database() as address:
        place = workplace(tmp_path_factory.getbasetemp(), tmp_path / "home")
        (tmp_path / "python").mkdir()
        yield Site(cluster, place, Settings(place.home, address), tmp_path / "python")


@pytest.fixture
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[object, ...]]]:
    """The rows of an undisturbed inline run."""
    record = finished(tmp_path_factory.getbasetemp()).record()
    rows = dump(record)
    record.close()
    return rows


def rows(site: Site) -> dict[str, list[tuple[object, ...]]]:
    record = Record.open(site.settings)
    assert set(record.query("SELECT state FROM job").state) == {"done"}
    found = dump(record)
    record.close()
    return found


def complete(states: dict[str, int]) -> bool:
    return states.get("done", 0) == sum(states.values()) > 0


@pytest.mark.slow
def test_an_array_over_two_nodes_computes_a_study(site: Site, expected: dict[str, list[tuple[object, ...]]]) -> None:
    site.submit("--array", "2", "--partition", "low", "--cpus-per-task", "2", seconds=1.0)
    site.wait_for(complete, "finished study")
    site.cluster.wait_for(lambda: site.cluster.jobs() == [], "end of the jobs")
    assert rows(site) == expected
    assert len(site.owners()) == 2
    (submission,) = (site.settings.home / "slurm").iterdir()
    pickled = b"".join(path.read_bytes() for path in submission.glob("*submitted.pkl"))
    assert site.settings.database_url.encode() not in pickled and b"sae" not in pickled


@pytest.mark.slow
def test_preempted_workers_give_back_and_come_again(site: Site, expected: dict[str, list[tuple[object, ...]]]) -> None:
    site.submit("--array", "2", "--partition", "low", "--cpus-per-task", "2", seconds=8.0)
    site.wait_for(lambda states: states.get("leased", 0) == 2, "two units in progress")
    site.cluster.run("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 6")
    site.wait_for(complete, "finished study")
    assert rows(site) == expected
    assert "SIGTERM: no new units" in site.output()


@pytest.mark.slow
def test_the_units_of_a_node_that_died_are_taken_up(site: Site, expected: dict[str, list[tuple[object, ...]]]) -> None:
    site.submit("--array", "2", "--partition", "low", "--cpus-per-task", "2", seconds=4.0)
    site.wait_for(lambda states: states.get("leased", 0) == 2, "two units in progress")
    site.cluster.kill_node("n1")
    site.wait_for(complete, "finished study")
    assert rows(site) == expected


@pytest.mark.slow
def test_cancelled_workers_leave_nothing_leased(site: Site) -> None:
    number = site.submit("--partition", "low", seconds=60.0)
    site.wait_for(lambda states: states.get("leased", 0) == 1, "a unit in progress")
    site.cluster.run("scancel", number)
    site.cluster.wait_for(lambda: site.cluster.jobs() == [], "end of the jobs")
    site.wait_for(lambda states: states.get("leased", 0) == 0, "unit back in line")
    assert site.states().get("failed", 0) == 0
