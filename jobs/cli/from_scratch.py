"""What the commands that train a model from scratch, or judge one, have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from jobs.cli.console import messages, output, table
from tdlens.errors import UserError

if TYPE_CHECKING:
    from jobs.from_scratch import Config
    from jobs.from_scratch import Progress as Reported
    from jobs.reference.evaluate import Evaluation

Out = Annotated[Path, typer.Option(help="Folder for weights and tokenizer.", show_default=False)]
Steps = Annotated[int | None, typer.Option(min=1, help="Optimiser steps in all; default: as for the shipped weights.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of weights and data.")]
Force = Annotated[bool, typer.Option("--force", help="Write over a model in that folder.")]


def refuse_a_folder_in_use(out: Path, force: bool) -> None:
    """A model in the folder stays, unless the user says otherwise.

    Raises:
        UserError: there is one.
    """
    if any(out.glob("*.safetensors")) and not force:
        raise UserError(f"{out} holds a model already.", "Give another folder, or add --force to replace it.")


def train_shown(train: Callable[..., Any], config: Config, steps: int | None, out: Path, judge: str) -> None:
    """Train with a bar that tells the loss of each kind of data.

    Args:
        train: a model's own.
        config: its configuration.
        steps: in all, if not as many as the configuration says.
        out: folder for the result.
        judge: the command that judges it.
    """
    from jobs.cores import use_available_cores
    from jobs.from_scratch import n_steps, shortened

    use_available_cores()
    if steps is not None:
        config = shortened(config, steps)
    with training_bars() as bars:
        bar = bars.add_task("training", total=n_steps(config))

        def show(reported: Reported) -> None:
            losses = "  ".join(f"{kind} {value:.3f}" for kind, value in reported.nll.items())
            bars.update(bar, completed=reported.step, description=f"{losses} nats")

        train(config, out, on_progress=show)
    messages().print(f"Saved in {out}. Judge it: tdlens {judge} {out}", soft_wrap=True)


def judge_shown(evaluate: Callable[..., Evaluation], model: str, *, seed: int, n: int) -> None:
    """Print what a model's evaluation measured and which gates hold; the exit code is 1 if one doesn't."""
    from jobs.cores import use_available_cores

    use_available_cores()
    with messages().status(f"Evaluating {model}") as status:
        evaluation = evaluate(model, seed=seed, n=n, note=lambda what: status.update(f"Evaluating {model}: {what}"))
    output().print(_measured(evaluation))
    if not evaluation.passed:
        raise typer.Exit(1)


def training_bars() -> Progress:
    """Bars of a training that say what it is at, how many steps are done, and how long the rest will take."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=messages(),
    )


def _measured(evaluation: Evaluation) -> Table:
    rows = [(row.name, f"{row.value:.3f}", row.gate, _verdict(row.passed)) for row in evaluation.measures]
    return table(("measure", "value", "gate", ""), rows, numeric=("value",))


def _verdict(passed: bool | None) -> Text:
    if passed is None:
        return Text("")
    return Text("passed", "green") if passed else Text("failed", "bold red")
