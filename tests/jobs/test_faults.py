"""`tdlens run` killed with SIGKILL at random moments, again and again, ends with the rows of an undisturbed run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from tests.tiny_study import Workplace, dump, workplace

HARNESS = """
import json, os, random, signal, sys, time
from jobs.cli import app
import jobs.pipeline  # before the first fork: so a kill meets the work and not the imports

study, *homes = sys.argv[1:]
expected, report = 0.0, []
for seed, home in enumerate(homes):
    os.environ["TDLENS_HOME"] = home
    delays, outcomes = random.Random(seed), []
    while not outcomes or outcomes[-1] < 0 and len(outcomes) < 100:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            app(["run", study, "--no-report", "--no-mlflow"])
        started = time.monotonic()
        # the first home is left in peace; later attempts get more time: so kills come early and late
        delay = delays.uniform(0, 0.1 * expected * (2 + len(outcomes))) if expected else 600
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() - started < delay:
            time.sleep(0.001)
        if ended[0] == 0:
            os.kill(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
        outcomes.append(os.waitstatus_to_exitcode(ended[1]))
    expected = expected or time.monotonic() - started
    report.append(outcomes)
print(json.dumps(report))
"""
"""Runs the study in each home, in forked children, each killed after a random delay, until one reaches its end."""

KILLED = 3
"""Homes whose runs are killed."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Workplace, list[int]]]:
    """Each home with the exit codes of its runs (-9: killed); the first was left in peace."""
    folder = tmp_path_factory.mktemp("faults")
    places = [workplace(tmp_path_factory.getbasetemp(), folder / f"home-{number}") for number in range(1 + KILLED)]
    command = [sys.executable, "-c", HARNESS, str(places[0].study), *(str(place.home) for place in places)]
    done = subprocess.run(command, env=places[0].environment, capture_output=True, text=True, check=True)
    return list(zip(places, json.loads(done.stdout), strict=True))


def test_the_undisturbed_run_ends_at_once(runs: list[tuple[Workplace, list[int]]]) -> None:
    assert runs[0][1] == [0]


def test_runs_were_killed_while_they_computed(runs: list[tuple[Workplace, list[int]]]) -> None:
    assert all(set(codes) == {-9, 0} for _, codes in runs[1:])
    caught = 0
    for place, _ in runs[1:]:
        record = place.record()
        caught += int(record.query("SELECT sum(attempt - 1) AS n FROM job").n.item())
        record.close()
    assert caught >= 1, "no kill met a job: the delays no longer fit the study"


@pytest.mark.parametrize("number", range(1, 1 + KILLED))
def test_killed_runs_end_with_the_same_rows(
    runs: list[tuple[Workplace, list[int]]], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, intact = runs[number][0], runs[0][0]
    ours, theirs = place.record(), intact.record()
    assert dump(ours) == dump(theirs)
    assert set(ours.query("SELECT state FROM job").state) == {"done"}
    known = {f"{blob.sha256}.{blob.suffix}" for blob in ours.query("SELECT * FROM blob").itertuples()}
    ours.close()
    theirs.close()
    files = {path for path in (place.home / "blobs").rglob("*") if path.is_file()}
    assert known <= {path.name for path in files}
    left = {str(path) for path in files if path.name not in known}
    for name in ("TDLENS_DATABASE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    doctor = CliRunner().invoke(app, ["doctor", "--full"], env={"TDLENS_HOME": str(place.home)})
    assert doctor.exit_code == 0, doctor.stdout
    named = {line.strip() for line in doctor.stdout.splitlines() if line.startswith(f"  {place.home}")}
    assert named == left
