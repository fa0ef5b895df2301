"""``tdlens reproduce``: a whole paper, from its studies to one page."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.console import messages
from jobs.cli.overrides import ENGINE_HELP, Engine, overrides
from jobs.cli.run import compute, copy_to_mlflow

if TYPE_CHECKING:
    from jobs.report.reproductions import Reproduction
    from jobs.study import Study


class Paper(StrEnum):
    """What can be reproduced."""

    td_in_llms = "td-in-llms"
    dqn_saes = "dqn-saes"
    mechrl = "mechrl"
    welfare_axis = "welfare-axis"


class Task(StrEnum):
    """A study of a paper, by its task."""

    two_step = "two_step"
    grid_world = "grid_world"
    graph_walk = "graph_walk"
    rook_endgame = "rook_endgame"
    head_ablation = "head_ablation"
    maze = "maze"


class Siblings(StrEnum):
    """Studies of a paper's tasks beside those of the shipped model."""

    llama3_70b = "llama3_70b"
    qwen3_4b = "qwen3_4b"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(reproduce)


def reproduce(
    paper: Annotated[Paper, typer.Argument(show_default=False)],
    quick: Annotated[
        bool, typer.Option("--quick", help="Few rollouts, as the table [quick] of each study's file says.")
    ] = False,
    only: Annotated[
        list[Task] | None, typer.Option(help="Run this study and leave the others as they are; may be repeated.")
    ] = None,
    siblings: Annotated[
        Siblings | None,
        typer.Option(
            "--studies",
            help="Take the model, blocks, autoencoders and lesions of the files studies/TASK_….toml, those of the "
            "published model: llama3_70b for td-in-llms, qwen3_4b for welfare-axis.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="reference, a folder, or a Hugging Face id; for dqn-saes a folder of train-agent. "
            "Short for --set model.name=…"
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(help="Commit, branch or tag of a hub model; short for --set model.revision=…"),
    ] = None,
    engine: Annotated[Engine | None, typer.Option(help=ENGINE_HELP)] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="[STUDY:]KEY=VALUE",
            help="Change one setting of every study or, after its task and a colon, of one; may be repeated.",
        ),
    ] = None,
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Copy the results to MLflow.")] = True,
) -> None:
    """
    Reproduce a paper: run its studies, then write one page with all figures and headline numbers.

    **td-in-llms** is Demircan et al. (2025, arXiv 2410.01280): latents of Llama 3 70B that follow TD errors in the
    Two-Step task, the Grid World and a graph. Each figure has the published curve beside ours, each claim its
    verdict by a stated rule, beside the controls that the paper lacks.

    **dqn-saes** is DuPlessie (2024): sparse autoencoders on a deep Q network that plays a rook endgame. Which of its
    latents stand for something on the board, which show what the Q-values alone don't, which do nothing; how well it
    plays on what an autoencoder keeps. The agent ships with tdlens, **tdlens train-agent** trains another. Beside ours
    stand numbers recomputed from the author's released checkpoints, none of them the paper's own.

    **mechrl** is Khadka (2026, arXiv 2605.26343): policies that ablate a frozen language model's attention heads one
    after the other, rewarded for those that a task needs, and then sent to tasks that they never saw. On a small model
    of GPT-2's architecture that ships with tdlens; **--model gpt2** takes the paper's own, for which a GPU is wanted.

    **welfare-axis** is Han, Chalmers & Izmailov (2026, arXiv 2605.30232): a language model is rewarded in a maze whose
    tiles mean nothing, and the directions of its rewarded and punished tiles are added to the model as it was before:
    do they move confidence, sentiment, backtracking and refusal together, more than controls of the same norm? On a
    small model that ships with tdlens. Its first study looks for TD latents in the same model, for the second to
    compare with. **--model Qwen/Qwen3-4B-Instruct-2507** takes the paper's primary model and settings, those of the
    files two_step_qwen3_4b and maze_qwen3_4b, and wants a GPU of 80 GB and questions, problems and requests in files
    (maze:steering.data). Any other model is trained and steered with the small model's settings, both studies on it;
    rates and files of questions are to be set then.

    The studies are those of the files two_step_demo, grid_world and graph_walk, of rook_endgame, of head_ablation, and
    of welfare_two_step and welfare_axis (**tdlens run** runs one of them). What the record holds already isn't computed
    again: stopped at any moment, the same command goes on where it was. **tdlens report td-in-llms**, say, writes the
    page again without computing anything.

    With --model the studies of td-in-llms are run as they are, with the blocks and autoencoders of the shipped small
    model. **--studies llama3_70b** takes the published model and settings instead, those of the files
    two_step_llama3_70b, grid_world_llama3_70b and graph_walk_llama3_70b, under the names by which the paper's page
    finds its studies. A record of their own (TDLENS_HOME) keeps the small model's page beside it.

    **Examples**

    $ tdlens reproduce td-in-llms --quick

    $ tdlens reproduce td-in-llms

    $ tdlens reproduce dqn-saes --quick

    $ tdlens reproduce dqn-saes --model my-agent --set population.agents=0

    $ tdlens reproduce mechrl --quick

    $ tdlens reproduce mechrl --model gpt2

    $ tdlens reproduce welfare-axis --quick

    $ tdlens reproduce welfare-axis --model Qwen/Qwen3-4B-Instruct-2507

    $ tdlens reproduce welfare-axis --only maze --set maze:steering.judge=Qwen/Qwen3-8B

    $ tdlens reproduce td-in-llms --only graph_walk --set graph_walk:task.rollouts=40

    $ tdlens reproduce td-in-llms --model meta-llama/Meta-Llama-3-8B --set model.dtype=bfloat16

    $ TDLENS_HOME=.tdlens-70b tdlens reproduce td-in-llms --studies llama3_70b
    """
    started = time.monotonic()
    short = overrides(None, model=model, revision=revision, engine=engine)
    console = messages()

    from jobs.published.importing import import_published
    from jobs.report.reproductions import REPRODUCTIONS
    from jobs.welfare.asked import refuse_unaskable
    from tdlens.record import Record
    from tdlens.settings import Settings

    chosen = REPRODUCTIONS[paper.value]
    if siblings is None and model is not None and model in chosen.siblings:
        siblings = Siblings(chosen.siblings[model])
    asked = _asked(chosen, only or [])
    _refuse(chosen, siblings, quick=quick)
    # all of them first: a mistake in the last study shows before hours of the first
    studies = {
        task: _load(task, chosen.studies[task], siblings, [*short, *_own(changes or [], task, asked)], quick)
        for task in asked
    }
    for study in studies.values():
        refuse_unaskable(study)
    record = Record.open(Settings.from_environment())
    try:
        for number, study in enumerate(studies.values(), start=1):
            console.print(f"\n[bold]{study.name}[/] ({number} of {len(studies)})")
            computed, found = compute(study, record, console)
            console.print(f"[bold]{study.name}[/]: {computed} units computed, {found} already in the record")
            if mlflow:
                copy_to_mlflow(record, study.name, console)
        with console.status("Importing the numbers that stand beside ours"):
            import_published(record, chosen.publication)
        with console.status("Writing the report"):
            page = chosen.write(record, record.settings.reports / chosen.name)
    finally:
        record.close()
    console.print(f"\n[bold]{paper.value}[/]: {time.monotonic() - started:.0f} s")
    console.print(f"Report: {page}", soft_wrap=True)
    console.print("Next:")
    for command in (
        f"tdlens report {chosen.name} --open",
        f'tdlens sql "{chosen.query}"',
        "tdlens ui",
    ):
        console.print(f"  {command}", soft_wrap=True)


def _asked(paper: Reproduction, only: list[Task]) -> list[str]:
    """The tasks whose studies are to be run, in the paper's order."""
    from tdlens.errors import UserError

    foreign = [task.value for task in only if task not in paper.studies]
    if foreign:
        raise UserError(
            f"{paper.name} has no study of {', '.join(foreign)}.",
            f"Its studies can be chosen by --only: {', '.join(paper.studies)}.",
        )
    return [task for task in paper.studies if not only or task in only]


def _refuse(paper: Reproduction, siblings: Siblings | None, *, quick: bool) -> None:
    """Refuse siblings that there aren't, or that nothing makes small."""
    from jobs.bundled import study_file
    from jobs.study import load
    from tdlens.errors import UserError

    if siblings is None:
        return
    files = [study_file(f"{task}_{siblings}") for task in paper.studies]
    if not all(file.exists() for file in files):
        raise UserError(f"{paper.name} has no studies of {siblings}.", "Leave --studies out.")
    if quick and any(load(file, quick=True) == load(file) for file in files):
        raise UserError(
            f"The studies of {siblings} have no table [quick].", f"Rehearse them: tdlens run {files[0]} --rehearse"
        )


def _load(task: str, study: str, siblings: Siblings | None, changes: list[str], quick: bool) -> Study:
    from jobs.bundled import study_file
    from jobs.study import load
    from tdlens.errors import UserError

    file = study_file(study if siblings is None else f"{task}_{siblings}")
    loaded = load(file, [f"name={study}", *changes], quick=quick)
    if (loaded.name, loaded.task.name) != (study, task):
        raise UserError(
            f"The study {study} of the paper is to keep its name and task, but these changes make it "
            f"{loaded.name} with the task {loaded.task.name}.",
            f"For another study copy {file} and use tdlens run.",
        )
    return loaded


def _own(changes: list[str], task: str, asked: list[str]) -> list[str]:
    """The changes that concern a study: those without a task in front of their key, and its own."""
    from tdlens.errors import UserError

    kept = []
    for change in changes:
        key = change.partition("=")[0]
        named, colon, _ = key.partition(":")
        if not colon:
            kept.append(change)
        elif named == task:
            kept.append(change.partition(":")[2])
        elif named not in asked:
            raise UserError(
                f"--set {change!r} is for {named!r}, which is none of the studies to be run.",
                f"Put one of these in front of the colon: {', '.join(asked)}.",
            )
    return kept
