"""``tdlens train-reference`` and ``evaluate-reference``: the small model that ships with tdlens."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli.from_scratch import Force, Out, Seed, Steps, judge_shown, refuse_a_folder_in_use, train_shown


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("train-reference")(train_reference)
    app.command("evaluate-reference")(evaluate_reference)


def train_reference(out: Out, steps: Steps = None, seed: Seed = 0, force: Force = False) -> None:
    """
    Train the reference model from scratch on histories of simulated reinforcement learners.

    Next-token prediction only; about 75 minutes of one core at the default size. The result is an ordinary
    Hugging Face model: use it with **tdlens run … --model FOLDER**.

    **Example**

    $ tdlens train-reference --out my-model --seed 1

    $ tdlens evaluate-reference my-model
    """
    refuse_a_folder_in_use(out, force)

    from jobs.reference.train import ReferenceConfig, train

    train_shown(train, ReferenceConfig(seed=seed), steps, out, "evaluate-reference")


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
    from jobs.reference.evaluate import evaluate

    judge_shown(evaluate, model, seed=seed, n=n)
