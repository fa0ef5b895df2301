"""What a Slurm job runs: one worker, told when the job's time is up.

Each job unpickles this at its start, so it imports nothing that takes long.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import psutil

GRACE = 900.0
"""Seconds after SIGTERM in which Slurm is expected to end a job; partitions have grace times of minutes."""
POLL = 2.0
"""Seconds between two questions whether it has."""


@dataclass(frozen=True)
class WorkerJob:
    """What a Slurm job runs. Its pickle holds a number and the worker's options."""

    submission: int
    options: tuple[str, ...] = ()

    def __call__(self) -> None:
        """Run one worker to its end.

        Raises:
            RuntimeError: units failed, or there is something to be put right; its output says what.
        """
        told = []
        # Slurm signals all processes of a job: the worker hears SIGTERM too, and finishes its unit or gives it back
        signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
        worker = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", "worker", "--job", str(self.submission), *self.options]
        )
        _await(worker.pid)
        code = worker.wait()
        end = time.monotonic() + GRACE
        while told and time.monotonic() < end and _counts_as_running():
            # A job that ends by itself in the grace time before preemption counts as done and isn't requeued.
            time.sleep(POLL)
        if code != 0:
            raise RuntimeError(f"the worker ended with code {code}")

    def checkpoint(self) -> Any:
        """What to run when the time limit comes: the same again. Slurm requeues the job as soon as this returns."""
        from submitit.helpers import DelayedSubmission

        for worker in psutil.Process().children():
            worker.terminate()
            _await(worker.pid)
        return DelayedSubmission(self)


def _await(child: int) -> None:
    """Until a child has ended. It is left to be asked for its exit code: a signal's handler may wait beside others."""
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)


def _counts_as_running() -> bool:
    """Whether Slurm hasn't ended this job in its books; False outside of Slurm."""
    from submitit import JobEnvironment

    job = JobEnvironment()
    if job.cluster != "slurm":
        return False
    asked = subprocess.run(
        ["squeue", "--noheader", f"--job={job.job_id}", "--format=%T"], capture_output=True, text=True, check=False
    )
    return asked.returncode != 0 or asked.stdout.strip() == "RUNNING"
