"""Two hundred SIGKILLs over a study on four workers: every unit is done once, with an undisturbed run's rows."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tdlens.record.query import query
from tdlens.settings import Settings
from tests.faults.places import Place, Rows, storm
from tests.faults.preloaded import Preloaded, Process
from tests.faults.storm_study import UNITS

PLAYS = 80
KILLS = 200
WORKERS = 4
SECONDS = 0.1
"""That a unit takes on average."""
PATIENCE = 300.0
ROLES = {"jobs.worker.child": "computing", "worker": "supervisor", "run": "run"}


@dataclass(eq=False)
class Storm:
    """Kills processes of ``tdlens run --executor local`` at random moments, and starts it again when it has ended.

    How many kills there are by when is told by the units done so far, so that a slow machine gets as many of them for
    as much progress as a quick one, and the study ends on both.
    """

    place: Place
    kills: int
    random: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    runs: list[int] = field(default_factory=list)
    """Exit codes of the run."""
    _process: Process | None = None

    def rage(self) -> None:
        """Kill so many processes, then leave the run alone until it succeeds."""
        units = UNITS * PLAYS
        moments = sorted(self.random.uniform(0, 0.9 * units) for _ in range(self.kills))
        # now and then the run itself is killed, with all its workers or without
        of_runs = set(self.random.sample(range(self.kills), 6))
        self._start()
        number = 0
        while self.killed.total() < self.kills:
            moment = moments[number] if number < self.kills else 0.0
            self._wait(lambda moment=moment: self._done() >= moment)  # type: ignore[misc]
            time.sleep(self.random.uniform(0, 2 * SECONDS))
            self._strike(number in of_runs)
            number += 1
        deadline = time.monotonic() + PATIENCE
        while self._again() is None or self.runs[-1] != 0:
            assert time.monotonic() < deadline, "the study doesn't end"
            time.sleep(0.05)
        self.place.preloaded.rest(self.place.settings.home)

    def _strike(self, run: bool) -> None:
        working = self.place.preloaded.alive(self.place.settings.home)
        alive = {pid: ROLES.get(command[0]) or ROLES[command[1]] for pid, command in working.items()}
        if run and self.random.random() < 0.5:
            victims = list(alive)
        else:
            wanted = "run" if run else self.random.choices(["computing", "supervisor"], [3, 1])[0]
            candidates = sorted(pid for pid, role in alive.items() if role == wanted)
            victims = self.random.sample(candidates, min(1, len(candidates)))
        for pid in victims:
            self.killed[alive[pid]] += self.place.preloaded.kill(pid)

    def _start(self) -> None:
        self._process, self._output = self.place.start_workers(WORKERS)

    def _again(self) -> int | None:
        """The exit code of a run that has just ended, and is started again unless it succeeded."""
        assert self._process is not None
        code = self._process.poll() if not self.runs or self.runs[-1] != 0 else 0
        if code is not None and (not self.runs or self.runs[-1] != 0):
            self.runs.append(code)
            said = self._output.read_text()
            assert code in (0, -9) or (code == 2 and "un the study again" in said), said
            if code != 0:
                self._start()
        return code

    def _wait(self, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not until():
            assert time.monotonic() < deadline, f"no progress: {self._output.read_text()[-2000:]}"
            self._again()
            time.sleep(0.03)

    def _done(self) -> int:
        table = query(self.place.settings, "SELECT count(*) AS n FROM job WHERE state = 'done'")
        return int(table.n.item())


@pytest.mark.slow
def test_two_hundred_kills(
    own: Settings, preloaded: Preloaded, tmp_path: Path, storm_rows: Callable[[int], Rows]
) -> None:
    place = storm(preloaded, tmp_path, own, plays=PLAYS, seconds=SECONDS)
    raging = Storm(place, KILLS, random.Random(20260801))
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
