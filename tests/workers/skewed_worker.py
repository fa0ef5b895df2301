"""A worker as a process of its own: the real supervisor and ledger, and computing that only takes its time.

``python -m tests.workers.skewed_worker STUDY_ID LEASE BEAT FILE`` claims one unit, computes until FILE is there, and
publishes. BEAT is how many seconds lie between two heartbeats at most.
"""

from __future__ import annotations

import sys

from jobs.worker import supervisor
from jobs.worker.assignment import Assignment
from jobs.worker.supervisor import Supervisor
from tdlens.record import Record
from tdlens.record.leases import Superseded
from tdlens.settings import Settings
from tests.workers.fake_process import Acts

SUPERSEDED = 3
"""Exit code when publishing was refused."""


def main(study_id: int, lease: float, beat: float, file: str) -> int:
    supervisor.SIGN = beat
    record = Record.open(Settings.from_environment())
    wait = f"while not os.path.exists({file!r}):\n    time.sleep(0.05)\n"
    act = wait + "send('note', text='computed'); let_go('published'); sys.exit(0)"
    acts = Acts(record, study_id, (act,), lease)

    def say(line: str) -> None:
        if line == "computed":
            acts.publish()

    try:
        return Supervisor(record, Assignment(lease=lease), grace=0.0, retries=0, say=say, start=acts).run()
    except Superseded:
        return SUPERSEDED


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
