"""`tdlens run` killed with SIGKILL at random moments, again and again, ends with the rows of an undisturbed run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tdlens.record import Record
from tests.tiny_study import Workplace, dump, workplace

HARNESS = """
import json, os, random, signal, sys, time
from jobs.cli import app
import jobs.pipeline  # before the first fork: so a kill meets the work and not the imports

study, seed, expected = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
delays, outcomes = random.Random(seed), []
while True:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        app(["run", study, "--no-report", "--no-mlflow"])
    started = time.monotonic()
    # later attempts get more time: the study ends, after kills early and late
    delay = delays.uniform(0, 0.15 * expected * (2 + len(outcomes))) if expected else 600
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() - started < delay:
        time.sleep(0.001)
    if ended[0] == 0:
        os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)
    outcomes.append((os.waitstatus_to_exitcode(ended[1]), time.monotonic() - started))
    if outcomes[-1][0] >= 0 or len(outcomes) > 200:
        break
print(json.dumps(outcomes))
"""
"""Runs the study in forked children, each killed after a random delay, until one reaches its end."""


def run_killed(place: Workplace, seed: int, expected: float) -> list[tuple[int, float]]:
    """Exit code (-9: killed) and seconds of every attempt; `expected` 0 kills none."""
    command = [sys.executable, "-c", HARNESS, str(place.study), str(seed), str(expected)]
    done = subprocess.run(command, env=place.environment, cwd=Path.cwd(), capture_output=True, text=True, check=True)
    return [tuple(outcome) for outcome in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, float]:
    """The study run once without a kill, and how long that took."""
    place = workplace(tmp_path_factory.getbasetemp(), tmp_path_factory.mktemp("undisturbed") / "home")
    ((code, seconds),) = run_killed(place, 0, 0.0)
    assert code == 0
    return place, seconds


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_at_random_moments(
    undisturbed: tuple[Workplace, float], tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, seed: int
) -> None:
    intact, seconds = undisturbed
    place = workplace(tmp_path_factory.getbasetemp(), tmp_path / "home")
    outcomes = run_killed(place, seed, seconds)
    assert [code for code, _ in outcomes[:-1]] == [-9] * (len(outcomes) - 1)
    assert outcomes[-1][0] == 0
    assert len(outcomes) >= 4, "hardly a kill: the delays no longer fit the study"

    ours, theirs = place.record(), intact.record()
    assert dump(ours) == dump(theirs)
    assert set(ours.query("SELECT state FROM job").state) == {"done"}
    known = {path.name for path in map(Path, _recorded(ours))}
    files = {path for path in (place.home / "blobs").rglob("*") if path.is_file()}
    assert known <= {path.name for path in files}
    left = {str(path) for path in files if path.name not in known}
    ours.close()
    theirs.close()
    doctor = place.tdlens("doctor", "--full")
    assert doctor.returncode == 0, doctor.stdout
    named = {line.strip() for line in doctor.stdout.splitlines() if line.startswith(f"  {place.home}")}
    assert named == left


def _recorded(record: Record) -> list[str]:
    blobs = record.query("SELECT sha256, suffix FROM blob")
    return [f"{blob.sha256}.{blob.suffix}" for blob in blobs.itertuples()]
