"""``tdlens train-reference`` and ``evaluate-reference``: the small model that ships with tdlens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from jobs.cli.console import messages, output, table

if TYPE_CHECKING:
    from jobs.reference.evaluate import Evaluation


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("train-reference")(train_reference)
    app.command("evaluate-reference")(evaluate_reference)


def train_reference(
    out: Annotated[Path, typer.Option(help="Folder for weights and tokenizer.", show_default=False)],
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps in all; default: as for the shipped weights.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and data.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write over a model in that folder.")] = False,
) -> None:
    """
    Train the reference model from scratch on histories of simulated reinforcement learners.

    Next-token prediction only; about 75 minutes of one core at the default size. The result is an ordinary
    Hugging Face model: use it with **tdlens run … --model FOLDER**.

    **Example**

    $ tdlens train-reference --out my-model --seed 1

    $ tdlens evaluate-reference my-model
    """
    from tdlens.errors import UserError

    if any(out.glob("*.safetensors")) and not force:
        raise UserError(f"{out} holds a model already.", "Give another folder, or add --force to replace it.")

    from jobs.cores import use_available_cores
    from jobs.reference import train as training

    use_available_cores()
    config = training.ReferenceConfig(seed=seed)
    if steps is not None:
        config = config.shortened(steps)
    with training_bar(config.steps) as show:
        training.train(config, out, on_progress=lambda progress: show(progress.step, progress.nll))
    messages().print(f"Saved in {out}. Judge it: tdlens evaluate-reference {out}", soft_wrap=True)


def evaluate_reference(
    model: Annotated[str, typer.Argument(help="reference, a folder, or a Hugging Face id.")] = "reference",
    seed: Annotated[int, typer.Option(min=0, help="Seed of task instances and choices.")] = 0,
    n: Annotated[int, typer.Option("--instances", min=2, help="Held-out task instances a measure.")] = 200,
) -> None:
    """
    Measure whether a model learns from reward in context or only looks as if it did.

    Gates on held-out task instances. Two-Step: a changed reward must move the next choice, and playing on its own the
    model must earn most of what a Q-learner earns. Grid World: playing on its own it must find goals that it never met
    in training, ever faster. Graph: it must come to know a graph's links. Baselines are reported beside them.

    Exit code 1 if a gate fails.
    """
    from jobs.cores import use_available_cores
    from jobs.reference.evaluate import evaluate

    use_available_cores()
    with messages().status(f"Evaluating {model}") as status:
        evaluation = evaluate(model, seed=seed, n=n, note=lambda task: status.update(f"Evaluating {model}: {task}"))
    output().print(measured(evaluation))
    if not evaluation.passed:
        raise typer.Exit(1)


@contextmanager
def training_bar(steps: int) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Shows how far a training is: its steps, and the loss of each kind of data in nats."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=messages()) as bars:
        bar = bars.add_task("training", total=steps)

        def show(done: int, nll: Mapping[str, float]) -> None:
            text = "  ".join(f"{kind} {value:.3f}" for kind, value in nll.items()) + " nats"
            bars.update(bar, completed=done, description=text)

        yield show


def measured(evaluation: Evaluation) -> Table:
    """What was measured, and which gates hold."""
    rows = [(row.name, f"{row.value:.3f}", row.gate, _verdict(row.passed)) for row in evaluation.measures]
    return table(("measure", "value", "gate", ""), rows, numeric=("value",))


def _verdict(passed: bool | None) -> Text:
    if passed is None:
        return Text("")
    return Text("passed", "green") if passed else Text("failed", "bold red")
