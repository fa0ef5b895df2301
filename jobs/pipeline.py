"""Running a study: plan all units, skip what the record already holds, compute and publish the rest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from jobs.context import Context
from jobs.owner import alive, this_process
from jobs.stage import Plan, Stage, Unit
from jobs.stages import behaviour, correlate, harvest, intervene, play, published, rank, signals, train_sae
from jobs.study import Study
from tdlens.errors import UserError
from tdlens.provenance import provenance
from tdlens.record import Job, JobParent, Record, StudyJob, current_study, find_or_create

STAGES: tuple[Stage, ...] = (
    published,
    play,
    signals,
    behaviour,
    harvest,
    train_sae,
    correlate,
    rank,
    intervene,
)
"""In the order of the data; each module has NAME, DESCRIPTION, units and run."""


@dataclass(frozen=True)
class Outcome:
    """What a run did."""

    study_id: int
    computed: int
    found: int


def plan_study(context: Context) -> Plan:
    """All units of the study, parents first."""
    plan = Plan()
    for stage in STAGES:
        plan.add(stage.units(context, plan))
    return plan


def run_study(
    study: Study,
    record: Record,
    console: Console,
    *,
    take_over: bool = False,
    after_stage: Callable[[Context, str], None] = lambda context, stage: None,
) -> Outcome:
    """Bring the record to hold everything that the study asks for.

    Args:
        study: the validated configuration; it becomes the current revision of its name.
        record: where to.
        console: for the progress bars and one line a stage.
        take_over: claim jobs that another process seems to be computing.
        after_stage: called when all units of a stage are done.

    Raises:
        UserError: a mistake in the study or its model, a full disk, another run at work on the same units.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        context = Context(study, record, progress)
        plan = plan_study(context)
        config = study.model_dump(mode="json", exclude={"title"})
        with record.session() as session:
            study_id = current_study(session, name=study.name, title=study.title, config=config).id
            _drop_abandoned(session, study_id, plan)
        overall = progress.add_task(study.name, total=len(plan.units))
        computed = 0
        for stage in STAGES:
            units = plan.of(stage.NAME)
            started, fresh = datetime.now(UTC), 0
            for unit in units:
                fresh += _ensure(context, stage, unit, study_id, take_over)
                progress.advance(overall)
            computed += fresh
            if units:
                seconds = (datetime.now(UTC) - started).total_seconds()
                state = f"{fresh} computed in {seconds:.0f} s" if fresh else "already in the record"
                console.print(
                    f"[green]✓[/] [bold]{stage.NAME:<10}[/] {stage.DESCRIPTION} [dim]({len(units)} units, {state})[/]"
                )
                after_stage(context, stage.NAME)
    return Outcome(study_id, computed, len(plan.units) - computed)


def _drop_abandoned(session: Session, study_id: int, plan: Plan) -> None:
    """Take out of the study what its configuration no longer asks for, since the model or a stage's code changed.

    Otherwise the views would show two results side by side. The jobs themselves stay, for whoever asks again.
    """
    planned = {unit.identity for unit in plan.units}
    rows = select(StudyJob, Job.identity).join(Job, Job.id == StudyJob.job_id).where(StudyJob.study_id == study_id)
    for row, identity in session.execute(rows):
        if identity not in planned:
            session.delete(row)


def _ensure(context: Context, stage: Stage, unit: Unit, study_id: int, take_over: bool) -> bool:
    """Have the unit's rows in the record; True if they had to be computed."""
    job_id, attempt = _claim(context, unit, study_id, take_over)
    context.remember(unit, job_id)
    if attempt is None:
        return False
    try:
        publish = stage.run(context, unit)
        with context.record.session() as session:
            _fence(session, job_id, attempt, unit)
            publish(session, job_id)
    except BaseException as error:
        _give_up(context, job_id, attempt, error)
        raise
    return True


def _claim(context: Context, unit: Unit, study_id: int, take_over: bool) -> tuple[int, int | None]:
    """The unit's job and the attempt that this process now owns, or None if the job is done."""
    with context.record.session() as session:
        find_or_create(session, Job, {"identity": unit.identity}, **_new_job(context, unit))
        job = session.scalars(select(Job).where(Job.identity == unit.identity).with_for_update()).one()
        for parent in unit.parents:
            find_or_create(session, JobParent, {"job_id": job.id, "parent_id": context.job_id(parent)})
        fresh = job.state == "running" and job.owner == this_process()
        if job.state != "done" and not fresh:
            if job.state == "running" and not take_over and alive(job.owner):
                raise UserError(
                    f"{unit.stage} {unit.key} is being computed by another run ({job.owner}).",
                    "Wait for it, or if that process is gone for good, run again with --take-over.",
                )
            job.attempt, job.owner, job.state = job.attempt + 1, this_process(), "running"
            job.started_at, job.finished_at, job.error = datetime.now(UTC), None, None
        find_or_create(session, StudyJob, {"study_id": study_id, "job_id": job.id})
        return job.id, None if job.state == "done" else job.attempt


def _new_job(context: Context, unit: Unit) -> dict[str, Any]:
    """Columns of a job that this process claims, but for its identity."""
    made = context.keep(lambda: provenance(str(context.engine.device)), "provenance")
    return {
        "stage": unit.stage,
        "key": unit.key,
        "state": "running",
        "attempt": 1,
        "owner": this_process(),
        "config": dict(unit.config),
        "seed": unit.seed,
        **asdict(made),
    }


def _fence(session: Session, job_id: int, attempt: int, unit: Unit) -> None:
    """Mark the job done, unless it was given to someone else meanwhile: then nothing is published."""
    mine = (Job.id == job_id, Job.attempt == attempt, Job.owner == this_process(), Job.state == "running")
    done = session.execute(update(Job).where(*mine).values(state="done", finished_at=datetime.now(UTC)))
    if done.rowcount != 1:  # type: ignore[attr-defined]
        raise UserError(
            f"{unit.stage} {unit.key} was taken over by another run meanwhile; this result is dropped.",
            "Nothing is lost: the other run's result counts. Run again to go on.",
        )


def _give_up(context: Context, job_id: int, attempt: int, error: BaseException) -> None:
    """Leave the job as failed, with the reason; a later run tries again."""
    text = str(error) or type(error).__name__
    # where the database itself failed, the row stays "running" under a dead owner, which a later run takes over
    with suppress(UserError), context.record.session() as session:
        mine = (Job.id == job_id, Job.attempt == attempt, Job.owner == this_process(), Job.state == "running")
        values = {"state": "failed", "error": text[:2000], "finished_at": datetime.now(UTC)}
        session.execute(update(Job).where(*mine).values(**values))
