"""``tdlens train-circuit-model`` and ``evaluate-circuit-model``: the small model on which heads are searched."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli.from_scratch import Force, Out, Seed, Steps, judge_shown, refuse_a_folder_in_use, train_shown


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("train-circuit-model")(train_circuit_model)
    app.command("evaluate-circuit-model")(evaluate_circuit_model)


def train_circuit_model(out: Out, steps: Steps = None, seed: Seed = 0, force: Force = False) -> None:
    """
    Train the circuits model from scratch: a small GPT-2 that does the tasks on which circuits are searched.

    Next-token prediction only, on repeated random words, indirect-object sentences, docstrings, sentences about years,
    and plain text; about a quarter of an hour of one core at the default size. The result is an ordinary Hugging Face
    model: use it with **tdlens run … --model FOLDER**.

    **Example**

    $ tdlens train-circuit-model --out my-model --seed 1

    $ tdlens evaluate-circuit-model my-model
    """
    refuse_a_folder_in_use(out, force)

    from jobs.circuit_model.train import CircuitModelConfig, train

    train_shown(train, CircuitModelConfig(seed=seed), steps, out, "evaluate-circuit-model")


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

    judge_shown(evaluate, model, seed=seed, n=n)
