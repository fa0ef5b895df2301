"""``tdlens run``: from a study file to rows, a report and runs in MLflow."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.console import messages
from jobs.cli.keys import show_keys
from jobs.cli.overrides import ENGINE_HELP, Engine, overrides

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.executors.slurm import SlurmSettings
    from jobs.study import Study
    from tdlens.record import Record


SLURM = "With --executor slurm"
REHEARSAL = "Rehearsal"


class Executor(StrEnum):
    """Who computes."""

    inline = "inline"
    local = "local"
    slurm = "slurm"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(run)


def run(
    study_file: Annotated[Path, typer.Argument(metavar="STUDY.toml", show_default=False)],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be repeated."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="reference, a folder, or a Hugging Face id; short for --set model.name=…"),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(help="Commit, branch or tag of a hub model; short for --set model.revision=…"),
    ] = None,
    engine: Annotated[Engine | None, typer.Option(help=ENGINE_HELP)] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Make the study small as the table [quick] of its file says.")
    ] = False,
    executor: Annotated[
        Executor,
        typer.Option(
            help="**inline**: in this process; **local**: by --workers processes on this machine; **slurm**: by a "
            "cluster's jobs, which go on when this command has ended. They need the record on PostgreSQL, and "
            "TDLENS_HOME in a folder that all nodes share."
        ),
    ] = Executor.inline,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes of --executor local: 2, or 1 where the engine deepspeed has its own."),
    ] = None,
    array: Annotated[int, typer.Option(min=1, help="Slurm: how many workers.", rich_help_panel=SLURM)] = 1,
    partition: Annotated[str | None, typer.Option(help="Slurm: where.", rich_help_panel=SLURM)] = None,
    gpus_per_node: Annotated[
        int | None, typer.Option(min=0, help="Slurm: GPUs of each worker.", rich_help_panel=SLURM)
    ] = None,
    cpus_per_task: Annotated[
        int | None, typer.Option(min=1, help="Slurm: cores of each worker.", rich_help_panel=SLURM)
    ] = None,
    mem: Annotated[
        float | None, typer.Option(min=0.1, metavar="GB", help="Slurm: memory of each worker.", rich_help_panel=SLURM)
    ] = None,
    time_limit: Annotated[
        str, typer.Option("--time", help="Slurm: after this a job is requeued; 90m, 24h, 2d.", rich_help_panel=SLURM)
    ] = "24h",
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Any other option of sbatch, such as account=lab or exclusive; may be repeated.",
            rich_help_panel=SLURM,
        ),
    ] = None,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse",
            help="Run the exact study on random weights of its model's shape, cut to a few blocks, in a record of its "
            "own (TDLENS_HOME/rehearsal). Needs the model's configuration and tokenizer, not its weights.",
            rich_help_panel=REHEARSAL,
        ),
    ] = False,
    rehearse_blocks: Annotated[
        int, typer.Option(min=2, help="Decoder blocks that are kept.", rich_help_panel=REHEARSAL)
    ] = 2,
    rehearse_rollouts: Annotated[
        int | None,
        typer.Option(
            min=4,
            help="Rollouts of each variant, at most the study's own; 4 by default.",
            show_default=False,
            rich_help_panel=REHEARSAL,
        ),
    ] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write the report at the end.")] = True,
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Copy the results to MLflow.")] = True,
    keys: Annotated[
        bool, typer.Option("--keys", callback=show_keys, is_eager=True, help="List all settings and stop.")
    ] = False,
) -> None:
    """
    Run a study: compute whatever the record doesn't hold yet, then write its report and its copy in MLflow.

    Running the same study again computes nothing. A changed setting recomputes only what depends on it, and
    the study gets a new revision, which views show from then on, also while it is still being computed. A run
    that was killed goes on where it was. **tdlens worker** on other machines helps, and **tdlens status --watch**
    shows how far all of them are.

    **Examples**

    $ tdlens run studies/two_step_demo.toml

    $ tdlens run studies/grid_world.toml --quick

    $ tdlens run studies/two_step_demo.toml --set task.rollouts=200 --set sae.paper.epochs=60

    $ tdlens run studies/two_step_demo.toml --executor local --workers 4

    $ tdlens run studies/two_step_llama3_70b.toml --rehearse

    $ tdlens run studies/two_step_llama3_70b.toml --executor slurm --partition gpu --gpus-per-node 8 --cpus-per-task 96

    $ tdlens run studies/two_step_demo.toml --model meta-llama/Meta-Llama-3-8B --set model.dtype=bfloat16
    """
    from jobs.study import load

    started = time.monotonic()

    from tdlens.errors import UserError
    from tdlens.record import Record
    from tdlens.settings import Settings

    console = messages()
    study = load(study_file, overrides(changes, model=model, revision=revision, engine=engine), quick=quick)
    settings = Settings.from_environment()
    if rehearse:
        if executor != Executor.inline:
            raise UserError(
                f"A rehearsal runs in this process, not by --executor {executor.value}.",
                "Leave --executor out; on a cluster run it in a job: srun --gpus-per-node 8 --cpus-per-task 96 "
                "tdlens run … --rehearse",
            )
        from jobs.cli.rehearsing import rehearse as rehearse_study
        from jobs.sections import FEWEST_ROLLOUTS

        rehearse_study(study, settings, rehearse_blocks, rehearse_rollouts or FEWEST_ROLLOUTS, report)
        return
    record = Record.open(settings)

    try:
        if executor == Executor.slurm:
            from jobs.executors.slurm import SlurmSettings, minutes, pairs

            asked = SlurmSettings(
                array=array,
                partition=partition,
                gpus_per_node=gpus_per_node,
                cpus_per_task=cpus_per_task,
                mem_gb=mem,
                minutes=minutes(time_limit),
                extra=pairs(slurm or ()),
            )
            _submit(study, record, console, asked)
            return
        computed, found = compute(study, record, console, executor, workers)
        page = _report(record, study, console) if report else None
        if mlflow:
            copy_to_mlflow(record, study.name, console)
    finally:
        record.close()
    seconds = time.monotonic() - started
    console.print(f"\n[bold]{study.name}[/]: {computed} units computed, {found} already in the record, {seconds:.0f} s")
    if page is not None:
        console.print(f"Report: {page}", soft_wrap=True)
    console.print("Next:")
    for command in (*_questions(study), "tdlens ui"):
        console.print(f"  {command}", soft_wrap=True)


def _questions(study: Study) -> list[str]:
    """Commands that show what a study found."""
    if study.training:
        return [
            'tdlens sql "SELECT training, reader, source, evaluation, measure, dose_kind, value, ci_low, ci_high FROM '
            "v_steering_contrast WHERE quantity = 'contrast'\""
        ]
    if not study.correlate.signals:
        return ['tdlens sql "SELECT task, name, ablation, score FROM v_head_score ORDER BY score DESC LIMIT 20"']
    return [
        f"tdlens show latents --signal {study.correlate.signals[0]} --study {study.name}",
        'tdlens sql "SELECT * FROM v_intervention_effect"',
    ]


def _submit(study: Study, record: Record, console: Console, asked: SlurmSettings) -> None:
    from jobs.executors.slurm import job_folder, submit_array

    if study.model.engine == "deepspeed" and not asked.names_cores:
        console.print(
            "[yellow]Warning:[/] without --cpus-per-task Slurm gives a worker one core, unless your cluster says "
            "otherwise: all its ranks, the statistics and the writing of activations share it. Ask for the node's, "
            "such as --cpus-per-task 96.",
            soft_wrap=True,
        )
    submission = submit_array(record, study, asked)
    console.print(
        f"[bold]{study.name}[/]: submission {submission.id}, Slurm job {submission.scheduler_id}, {asked.array} workers"
    )
    console.print(f"Output: {job_folder(record, submission)}", soft_wrap=True)
    console.print("Next:")
    for command in (
        "tdlens status --watch",
        f"squeue --job {submission.scheduler_id}      (which of its workers wait, and what for)",
        f"scancel {submission.scheduler_id}      (units in progress go back in line)",
        f"tdlens report {study.name} && tdlens sync-mlflow      (when it is done)",
    ):
        console.print(f"  {command}", soft_wrap=True)


def compute(
    study: Study,
    record: Record,
    console: Console,
    executor: Executor = Executor.inline,
    workers: int | None = None,
) -> tuple[int, int]:
    """Bring the record to hold a study: units computed now, and units that it held."""
    if executor == Executor.local:
        from jobs.executors.local import LocalWorkers
        from jobs.executors.submission import submit
        from tdlens.errors import UserError

        own_ranks = study.model.engine == "deepspeed"
        if own_ranks and (workers or 1) > 1:
            raise UserError(
                f"Each of {workers} workers would start ranks of its own on the same GPUs.",
                "Use --workers 1. Several nodes work together with --executor slurm --array N.",
            )
        n = workers or (1 if own_ranks else 2)
        submission = submit(record, study, "local", {"workers": n})
        return LocalWorkers(record, submission, n).run(console)

    from jobs.cores import use_available_cores
    from jobs.worker.inline import run_study

    use_available_cores()
    outcome = run_study(study, record, console)
    return outcome.computed, outcome.found


def _report(record: Record, study: Study, console: Console) -> Path | None:
    """Write a study's report; None where its task has none."""
    from jobs.report import write_report
    from jobs.report.page import REPORTS

    if study.task.name not in REPORTS:
        console.print(
            f"There is no report on the task {study.task.name}; tdlens sql asks for anything.", soft_wrap=True
        )
        return None
    with console.status("Writing the report"):
        return write_report(record, study.name, record.settings.reports / study.name)


def copy_to_mlflow(record: Record, study: str, console: Console) -> None:
    """Write the study to MLflow; a warning is all that comes of a server that is away."""
    from tdlens.errors import UserError
    from tdlens.tracking import project

    try:
        with console.status("Copying to MLflow"):
            project(record, study)
    except UserError as error:
        # the record is complete: MLflow only shows a copy of it
        console.print(f"[yellow]Warning:[/] {error.message} {error.remedy}", soft_wrap=True)
