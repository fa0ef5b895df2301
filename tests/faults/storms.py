"""SIGKILLs at random moments to what computes a study, which is started again until it is done."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import text

from tdlens.record import Record
from tests.faults.places import Place
from tests.faults.preloaded import Process

PATIENCE = 300.0
"""Seconds without any progress after which something is wrong."""
ROLES = {"jobs.worker.child": "computing", "jobs.worker.heartbeat": "heartbeat", "worker": "supervisor", "run": "run"}
"""What a process does, by its module or its command."""
SHARE = """
SELECT COALESCE(sum(CASE WHEN state = 'done' THEN 1.0 ELSE 0.0 END) / count(*), 0.0) AS done FROM job
HAVING count(*) > 0
"""


@dataclass(eq=False)
class Storm:
    """Kills processes of ``tdlens run`` and starts it again when it has ended.

    When there is a kill is told by the share of the units that are done, so that a slow machine gets as many of them
    for as much progress as a quick one, and the study ends on both.
    """

    place: Place
    workers: int
    """Of ``--executor local``; 0: inline."""
    kills: int
    of_runs: int
    """How many of them go to the run itself; every other time with all that it has started."""
    delay: float
    """Seconds that a kill may come late."""
    random: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    runs: list[int] = field(default_factory=list)
    """Exit codes of the run."""
    _process: Process | None = None
    _record: Record = field(init=False)

    def rage(self) -> None:
        """Kill so many processes, then leave the run alone until it succeeds."""
        # one that stays open: to look costs next to nothing
        with self.place.record() as self._record:
            moments = sorted(self.random.uniform(0, 0.8) for _ in range(self.kills))
            of_runs = set(self.random.sample(range(self.kills), self.of_runs))
            self._start()
            number = 0
            while self.killed.total() < self.kills and 0 not in self.runs:
                self._wait(moments[number] if number < self.kills else 0.0)
                time.sleep(self.random.uniform(0, self.delay))
                self._strike(number in of_runs)
                number += 1
            self._wait(2.0)
            self.place.preloaded.rest(self.place.settings.home)

    def _strike(self, run: bool) -> None:
        working = self.place.preloaded.alive(self.place.settings.home)
        alive = {pid: ROLES.get(command[0]) or ROLES[command[1]] for pid, command in working.items()}
        if run and self.random.random() < 0.5:
            victims = list(alive)
        else:
            likely = ["run"] if run else ["computing", "computing", "computing", "supervisor"]
            wanted = self.random.choice(likely)
            candidates = sorted(pid for pid, role in alive.items() if role == wanted)
            victims = self.random.sample(candidates, min(1, len(candidates)))
        for pid in victims:
            self.killed[alive[pid]] += self.place.preloaded.kill(pid)

    def _start(self) -> None:
        self._process, self._output = self.place.start_run(self.workers)

    def _wait(self, share: float) -> None:
        """Until so large a share of the units is done, or the run has succeeded; killed, it is started again."""
        best, deadline = -1.0, 0.0
        while not self.runs or self.runs[-1] != 0:
            assert self._process is not None
            code = self._process.poll()
            if code is not None:
                self.runs.append(code)
                said = self._output.read_text()
                assert code in (0, -9) or (code == 2 and "un the study again" in said), said
                if code != 0:
                    self._start()
            with self._record.session(read_only=True) as session:
                done = float(session.scalar(text(SHARE)) or 0.0)
            if done >= share:
                return
            if done > best:
                best, deadline = done, time.monotonic() + PATIENCE
            assert time.monotonic() < deadline, f"no progress: {self._output.read_text()[-2000:]}"
            time.sleep(0.03)
