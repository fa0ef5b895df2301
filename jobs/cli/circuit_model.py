"""``tdlens train-circuit-model`` and ``evaluate-circuit-model``: the small model on which heads are searched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.console import messages, output
from jobs.cli.reference import measured, training_bar


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("train-circuit-model")(train_circuit_model)
    app.command("evaluate-circuit-model")(evaluate_circuit_model)


def train_circuit_model(
    out: Annotated[Path, typer.Option(help="Folder for weights and tokenizer.", show_default=False)],
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps in all; default: as for the shipped weights.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and data.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write over a model in that folder.")] = False,
) -> None:
    """
    Train the circuits model from scratch: a small GPT-2 that does the tasks on which circuits are searched.

    Next-token prediction only, on repeated random words, indirect-object sentences, docstrings, sentences about years,
    and plain text; about a quarter of an hour of one core at the default size. The result is an ordinary Hugging Face
    model: use it with **tdlens run … --model FOLDER**.

    **Example**

    $ tdlens train-circuit-model --out my-model --seed 1

    $ tdlens evaluate-circuit-model my-model
    """
    from tdlens.errors import UserError

    if any(out.glob("*.safetensors")) and not force:
        raise UserError(f"{out} holds a model already.", "Give another folder, or add --force to replace it.")

    from jobs.circuit_model import train as training
    from jobs.cores import use_available_cores

    use_available_cores()
    config = training.CircuitModelConfig(seed=seed)
    if steps is not None:
        config = config.shortened(steps)
    with training_bar(config.steps) as show:
        training.train(config, out, on_progress=lambda progress: show(progress.step, progress.nll))
    messages().print(f"Saved in {out}. Judge it: tdlens evaluate-circuit-model {out}", soft_wrap=True)


def evaluate_circuit_model(
    model: Annotated[str, typer.Argument(help="circuits, a folder, or a Hugging Face id.")] = "circuits",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the prompts.")] = 0,
    n: Annotated[int, typer.Option("--prompts", min=2, help="Prompts of each task.")] = 200,
) -> None:
    """
    Measure whether a model does the circuit tasks, with names and parameters whose sentences it never met.

    Gates: the best head's attention to what came next the first time; logit differences in induction, indirect-object
    identification (the worse order of names) and docstrings; log-odds in greater-than. Beside them stand an untrained
    model's values, and those of corrupted prompts, where there is nothing to find the answer by.

    Exit code 1 if a gate fails.
    """
    from jobs.circuit_model.gates import evaluate
    from jobs.cores import use_available_cores

    use_available_cores()
    with messages().status(f"Evaluating {model}") as status:
        evaluation = evaluate(model, seed=seed, n=n, note=lambda which: status.update(f"Evaluating {model}: {which}"))
    output().print(measured(evaluation))
    if not evaluation.passed:
        raise typer.Exit(1)
