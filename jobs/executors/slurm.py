"""Workers as an array of Slurm jobs, handed over by submitit: ``tdlens run --executor slurm``.

Slurm is given a number and nothing else: which study, and how far it is, stands in the record. So a job that Slurm
requeues simply goes on, and nothing that was true at submission is replayed. Whether a unit is done is asked of the
ledger and never of the scheduler, whose accounting may be switched off.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jobs.executors.slurm_job import WorkerJob
from jobs.executors.submission import submit
from jobs.study import Study
from tdlens.errors import UserError
from tdlens.record import Record, Submission

DAY = 24 * 60
"""Minutes; submitit's own limits are minutes long, and no unit should meet one by default."""
WARNING = 90
"""Seconds before the time limit at which Slurm sends USR2, and a worker claims nothing more."""
SHORTEST = 5
"""Minutes of a job that has time to start before that signal, which would kill it."""
UNLIMITED = 1_000_000
"""Times that a job may reach its time limit and be requeued: a study ends when its units are done."""


@dataclass(frozen=True)
class SlurmSettings:
    """What Slurm is asked for."""

    array: int = 1
    """Workers: independent jobs of one array, each on one node."""
    partition: str | None = None
    gpus_per_node: int | None = None
    cpus_per_task: int | None = None
    mem_gb: float | None = None
    minutes: int = DAY
    """Time limit of a job; at its end the job is requeued."""
    worker: tuple[str, ...] = ()
    """Further options of ``tdlens worker``."""
    extra: dict[str, str | bool] = field(default_factory=dict)
    """Further options of sbatch, without their dashes; True for one that takes no value."""

    @property
    def names_cores(self) -> bool:
        """Whether it says how many cores a worker gets."""
        return self.cpus_per_task is not None or "cpus-per-gpu" in self.extra


def submit_array(record: Record, study: Study, settings: SlurmSettings, *, cluster: str = "slurm") -> Submission:
    """Enter the study in the record and hand its workers to Slurm.

    Args:
        cluster: submitit's name of the scheduler; ``local`` runs the same jobs as processes, for tests.

    Raises:
        UserError: no Slurm here, a database that only this machine reaches, or Slurm refuses.
    """
    if cluster == "slurm":
        if record.settings.sqlite_path is not None:
            raise UserError(
                "The record is an SQLite file, which several machines can't share safely.",
                "Put it on PostgreSQL (TDLENS_DATABASE_URL), or use --executor local.",
            )
        if shutil.which("sbatch") is None:
            raise UserError("There is no Slurm here: no sbatch.", "Submit from a login node, or use --executor local.")
    import submitit
    from submitit.core.utils import FailedJobError

    submission = submit(record, study, "slurm", _described(settings))
    allowed = {f"{cluster}_max_num_timeout": UNLIMITED}
    executor = submitit.AutoExecutor(folder=job_folder(record, submission), cluster=cluster, **allowed)
    executor.update_parameters(**parameters(settings, study.name, cluster))
    try:
        with executor.batch():  # one array
            jobs = [executor.submit(WorkerJob(submission.id, settings.worker)) for _ in range(settings.array)]
    except FailedJobError as error:
        with record.session() as session:
            session.delete(session.get_one(Submission, submission.id))
        raise UserError(
            f"Slurm refuses: {_reason(str(error))}",
            "Correct --partition, --gpus-per-node, --mem, --time or --slurm; see sinfo for what there is.",
        ) from error
    with record.session() as session:
        row = session.get_one(Submission, submission.id)
        row.scheduler_id = jobs[0].job_id.split("_")[0]
    return row


def job_folder(record: Record, submission: Submission) -> Path:
    """submitit's own files and the jobs' output; nothing of the record."""
    return record.settings.home / "slurm" / str(submission.id)


def parameters(settings: SlurmSettings, name: str, cluster: str = "slurm") -> dict[str, Any]:
    """What submitit is told."""
    common: dict[str, Any] = {"name": f"tdlens-{name}", "timeout_min": settings.minutes}
    asked = {
        "mem_gb": settings.mem_gb,
        "gpus_per_node": settings.gpus_per_node,
        "cpus_per_task": settings.cpus_per_task,
    }
    common |= {key: value for key, value in asked.items() if value is not None}
    if cluster != "slurm":
        return common
    slurm: dict[str, Any] = {
        "slurm_array_parallelism": settings.array,
        "slurm_signal_delay_s": WARNING,
        # preempted jobs come back by themselves, also where the site's default is otherwise
        "slurm_additional_parameters": {"requeue": True, **settings.extra},
    }
    if settings.partition is not None:
        slurm["slurm_partition"] = settings.partition
    if settings.cpus_per_task is not None:
        # since Slurm 22.05 srun doesn't take this from sbatch, and would bind the worker to one core
        slurm["slurm_srun_args"] = [f"--cpus-per-task={settings.cpus_per_task}"]
    return common | slurm


def minutes(text: str) -> int:
    """Minutes of a time such as 90m, 24h or 2d.

    Raises:
        UserError: it is no such time, or too short for a job.
    """
    match = re.fullmatch(r"(\d+)\s*([mhd])", text.strip())
    if match is None or int(match[1]) == 0:
        raise UserError(f"--time {text}: that isn't a time.", "Write it as 90m, 24h or 2d.")
    found = int(match[1]) * {"m": 1, "h": 60, "d": DAY}[match[2]]
    if found < SHORTEST:
        raise UserError(
            f"--time {text} is too short: a job is asked to stop {WARNING} s before.", f"Give it {SHORTEST}m or more."
        )
    return found


def pairs(given: Iterable[str]) -> dict[str, str | bool]:
    """Options of sbatch from KEY=VALUE, or from KEY where it takes no value.

    Raises:
        UserError: one is of neither form.
    """
    found: dict[str, str | bool] = {}
    for one in given:
        match = re.fullmatch(r"(?:--)?([a-z][a-z-]*)(?:=(.+))?", one)
        if match is None:
            raise UserError(
                f"--slurm {one}: that isn't KEY=VALUE.", "Write it as --slurm account=lab, or --slurm exclusive."
            )
        found[match[1]] = match[2] or True
    return found


def _reason(said: str) -> str:
    """What sbatch complains of, in one line."""
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in said.splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith('Try "'))


def _described(settings: SlurmSettings) -> dict[str, Any]:
    return {name: value for name, value in asdict(settings).items() if value not in (None, (), {})}
