"""``tdlens import-published``: others' results as rows, analysed as one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.console import messages, output, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from jobs.published.summary import Answer
    from tdlens.record import Record

POINTS = "SELECT * FROM v_published_point"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("import-published")(import_published)


def import_published(
    publication: Annotated[
        str,
        typer.Argument(
            metavar="PUBLICATION", help="demircan2025, duplessie2024, khadka2026 or han2026", show_default=False
        ),
    ],
) -> None:
    """
    Put a publication's results into the record, and analyse its example runs as a study's own play is.

    **demircan2025**: every published curve of Llama 3 70B, and 6 of the 18 example runs of its Fig 3: choices, rewards,
    TD error and block-34 latent, decoded from the vector graphics. They become a study of that name: rollouts whose
    policy is *published*, learning signals, behaviour models fitted to the choices, and the latent's correlations with
    the signals, also given the step. A second import finds them there.

    **duplessie2024**: how autoencoders of deep Q networks fare on a rook endgame, and what live latents tell of the
    scores of 24 Ms. Pac-Man networks. None of it is printed in a paper: it was recomputed from the author's released
    checkpoints and logs.

    **khadka2026**: searches for attention heads of GPT-2 small: how good the heads are that policies find, step by step
    and on a task that they were not trained on, which these are, and what the oracle finds.

    **han2026**: the functional welfare axis: concept vectors of rewarded and punished maze tiles in ten trained models,
    what steering by them does to models that were never in the maze, dose by dose, and the controls.

    **Examples**

    $ tdlens import-published demircan2025

    $ tdlens sql "SELECT * FROM v_published_point WHERE figure = 'fig4_A_D_paction'"

    $ tdlens import-published duplessie2024

    $ tdlens sql "SELECT series, x, y FROM v_published_point WHERE figure = 'dqn_topk'"

    $ tdlens import-published khadka2026

    $ tdlens sql "SELECT series, x, y FROM v_published_point WHERE figure = 'discovery_curves'"

    $ tdlens import-published han2026

    $ tdlens sql "SELECT series, x, y FROM v_published_point WHERE figure = 'dose_sentiment'"
    """
    from jobs.published.importing import PUBLICATIONS
    from jobs.published.importing import import_published as insert
    from tdlens.errors import UserError
    from tdlens.record import Record
    from tdlens.settings import Settings

    record = Record.open(Settings.from_environment())
    try:
        new = insert(record, publication)
        if record.query("SELECT 1 FROM v_published_point WHERE study = :study", {"study": publication}).empty:
            raise UserError(
                f"{publication} is being imported by another process.", "Run the command again when that one is done."
            )
        messages().print(f"[bold]{publication}[/]: {'imported' if new else 'already there'}")
        (_show_runs if PUBLICATIONS[publication].player else _show_figures)(record, publication)
    finally:
        record.close()


def _show_figures(record: Record, publication: str) -> None:
    sql = (
        "SELECT source, figure, count(DISTINCT series) AS series, count(*) AS points FROM v_published_point"
        " WHERE study = :study GROUP BY source, figure ORDER BY figure"
    )
    figures = record.query(sql, {"study": publication})
    columns = ("figure", "series", "points")
    output().print(table(columns, figures[[*columns]].itertuples(index=False), numeric=columns[1:]))
    about = messages()
    about.print(f"\nSource: {figures.source[0]}\nNext:", soft_wrap=True)
    about.print(f'  tdlens sql "{POINTS}"', soft_wrap=True)


def _show_runs(record: Record, publication: str) -> None:
    from jobs.published.summary import BEHAVIOUR, CORRELATIONS, SCALING, behaviour, correlations

    measured, fitted = record.query(CORRELATIONS), record.query(BEHAVIOUR)
    n, choices = fitted.n_rollouts.max(), fitted.n_choices.max()
    console = output()
    console.print(_table("Llama 3 70B, block 34", f"r, {n} runs", "all 18 runs", correlations(measured)))
    console.print()
    console.print(_table("NLL less Q-learning's", f"nats, {choices} choices", "published", behaviour(fitted)))
    about = messages()
    about.print(f"\n{SCALING}\nNext:", soft_wrap=True)
    for question in (CORRELATIONS, BEHAVIOUR, POINTS):
        about.print(f'  tdlens sql "{question}"', soft_wrap=True)


def _table(what: str, value: str, published: str, answers: Iterable[Answer]) -> Table:
    columns = (what, value, "95 % over runs", published)
    cells = [
        (answer.question, _number(answer.value), _interval(answer.interval), _number(answer.published))
        for answer in answers
    ]
    return table(columns, cells, numeric=columns[1:])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"[{interval[0]:+.2f}, {interval[1]:+.2f}]"
