"""A worker as a process of its own: the real supervisor and ledger, and computing that only takes its time.

``python -m tests.workers.skewed_worker STUDY_ID LEASE SECONDS`` claims one unit, computes for SECONDS, and publishes.
"""

from __future__ import annotations

import sys

from jobs.worker.assignment import Assignment
from jobs.worker.supervisor import Supervisor
from tdlens.record import Record
from tdlens.record.leases import Superseded
from tdlens.settings import Settings
from tests.workers.fake_process import Acts

SUPERSEDED = 3
"""Exit code when publishing was refused."""


def main(study_id: int, lease: float, seconds: float) -> int:
    record = Record.open(Settings.from_environment())
    act = f"time.sleep({seconds}); send('note', text='computed'); let_go('published'); sys.exit(0)"
    acts = Acts(record, study_id, (act,), lease)

    def say(line: str) -> None:
        if line == "computed":
            acts.publish()

    try:
        return Supervisor(record, Assignment(lease=lease), grace=0.0, retries=0, say=say, start=acts).run()
    except Superseded:
        return SUPERSEDED


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
