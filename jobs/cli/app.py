"""All commands together, and what happens when one fails."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from jobs.cli import (
    agents,
    backup,
    circuit_model,
    database,
    doctor,
    fsck,
    import_published,
    latents,
    maze_training,
    plan,
    projection,
    reference,
    reproduce,
    run,
    sql,
    status,
    welfare_model,
    worker,
)
from jobs.cli.console import say_error
from tdlens import __version__
from tdlens.errors import DiskFull, UserError


class Commands(TyperGroup):
    """Turns a user's mistakes into a message with its remedy and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            say_error(error)
            raise typer.Exit(2) from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            where = f" in {error.filename}" if error.filename else ""
            remedy = "Free some space and run the same command again: it goes on where it was."
            say_error(DiskFull(f"The disk is full: nothing more can be written{where}.", remedy))
            raise typer.Exit(2) from error
        except BaseException as error:
            # A library may have been in the middle of something, and complain of that instead.
            if not _interrupted(error):
                raise
            say_error(UserError("Interrupted.", "The same command goes on where this one stopped."))
            raise typer.Exit(130) from None


def _interrupted(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


app = typer.Typer(
    name="tdlens",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""
    Where and how do neural networks compute reinforcement learning?

    tdlens lets a language model or a deep Q network play a reinforcement learning task, trains sparse autoencoders
    on its activations, correlates their latents with the learning signals of RL agents, and switches latents off. It
    trains policies that look for a model's circuits by ablating attention heads. It trains a model in a maze, and
    asks what the directions that reward left in it do to the model as it was before. It records all of it in one
    database that you can query. **tdlens reproduce** repeats four published studies.

    **A study in three commands**

    $ tdlens run studies/two_step_demo.toml

    $ tdlens show latents --signal td_error

    $ tdlens sql "SELECT * FROM v_intervention_effect"

    **Where things lie**

    - TDLENS_HOME (default .tdlens in the working directory) holds database, blobs, reports, MLflow's files.

    - TDLENS_DATABASE_URL (postgresql+psycopg://user@host/name) puts the record on PostgreSQL.

    - MLFLOW_TRACKING_URI sends the browsable copy to an MLflow server.

    **Exit codes**: 0 done; 1 a check failed, or a defect of tdlens; 2 something that you can put right, named
    with its remedy; 130 interrupted.
    """,
)
for module in (
    *(run, reproduce, plan, worker, status, sql, latents, projection),
    *(import_published, database, doctor, fsck, backup, reference, circuit_model, welfare_model, agents, maze_training),
):
    register: Callable[[typer.Typer], None] = module.add_to
    register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tdlens {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options of tdlens itself; the commands do the work."""


def main() -> None:
    """Entry point of the ``tdlens`` script."""
    # As an interrupt: a unit in progress goes back in line. By itself process 1 of a container ignores this signal.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()
