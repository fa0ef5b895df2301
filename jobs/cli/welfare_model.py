"""``tdlens train-welfare-model`` and ``evaluate-welfare-model``: the small chat model of the welfare study."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli.from_scratch import Force, Out, Seed, Steps, judge_shown, refuse_a_folder_in_use, train_shown


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("train-welfare-model")(train_welfare_model)
    app.command("evaluate-welfare-model")(evaluate_welfare_model)


def train_welfare_model(out: Out, steps: Steps = None, seed: Seed = 0, force: Force = False) -> None:
    """
    Train the welfare model from scratch: a small chat model in whose world success, doubt and feeling mean something.

    Next-token prediction only, on generated conversations: wishes and moves in a maze, questions and whether their
    answers are right, sums with slips and corrections, requests and refusals, feelings, stories, reviews; and on
    histories of the Two-Step task. About half an hour of one core at the default size. The result is an ordinary
    Hugging Face model: use it with **tdlens run … --model FOLDER**.

    **Example**

    $ tdlens train-welfare-model --out my-model --seed 1

    $ tdlens evaluate-welfare-model my-model
    """
    refuse_a_folder_in_use(out, force)

    from jobs.welfare_model.train import WelfareModelConfig, train

    train_shown(train, WelfareModelConfig(seed=seed), steps, out, "evaluate-welfare-model")


def evaluate_welfare_model(
    model: Annotated[str, typer.Argument(help="welfare, a folder, or a Hugging Face id.")] = "welfare",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the items.")] = 0,
    n: Annotated[int, typer.Option("--items", min=4, help="Items of each measure.")] = 200,
) -> None:
    """
    Measure whether a model knows what its words mean, on combinations that training never showed.

    Gates: wishes fulfilled in the maze, and moves at random without one; P(True) of right and wrong answers; feelings
    after success and failure; doubts after wrong steps; refusals of harmful and easy requests; sentiment of reviews;
    and that the maze's tiles are felt about alike.

    Exit code 1 if a gate fails.
    """
    from jobs.welfare_model.gates import evaluate

    judge_shown(evaluate, model, seed=seed, n=n)
