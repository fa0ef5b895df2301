"""``tdlens sql``: questions to the record."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.console import messages, output, table

if TYPE_CHECKING:
    import pandas as pd


class Format(StrEnum):
    """How rows are written."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(sql)


def sql(
    query: Annotated[
        str,
        typer.Argument(
            metavar="SELECT",
            help="One SELECT, or a file (.sql) that holds one. The database refuses to change anything.",
            show_default=False,
        ),
    ],
    format: Annotated[Format, typer.Option(help="How rows are written.")] = Format.table,
    output_file: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write to this file, not to standard output.", show_default=False),
    ] = None,
) -> None:
    """
    Ask the record a question in SQL; read-only, which the database itself enforces.

    The views, with names resolved, and of each study the current revision: v_study, v_job, v_submission, v_worker,
    v_model, v_episode, v_step, v_learning_signal, v_latent_activation, v_activation_shard, v_sae,
    v_latent_correlation, v_correlation, v_coverage, v_intervention, v_intervention_effect, v_intervention_latent,
    v_behaviour_fit, v_block_measure, v_map_point, v_published_point, v_model_metric, v_latent_measure,
    v_latent_predicate, v_latent_example, v_head_score, v_head_measure, v_head_label, v_head_pair, v_circuit_search,
    v_search_progress, v_search_episode, v_search_step, v_planted_circuit, v_maze_training,
    v_maze_progress, v_maze_checkpoint, v_concept_vector, v_concept_cosine, v_concept_token, v_emotion_cosine,
    v_emotion_component, v_goal_tracking, v_steering_effect, v_steered_text, v_steering_contrast, v_concept_latent,
    v_concept_signal, v_planted_axis.

    **Examples**

    $ tdlens sql "SELECT variant, episode, avg(return) FROM v_episode GROUP BY variant, episode"

    $ tdlens sql "SELECT * FROM v_latent_correlation WHERE signal = 'td_error' AND r > 0.7" --format csv

    $ tdlens sql "SELECT * FROM v_step" --format parquet --output steps.parquet

    $ tdlens sql docs/queries/latents_of_a_block.sql
    """
    from tdlens.errors import UserError
    from tdlens.record.query import query as ask
    from tdlens.settings import Settings

    if format is Format.parquet and output_file is None and sys.stdout.isatty():
        raise UserError("Parquet can't be shown on a terminal.", "Add --output FILE.parquet, or pipe it.")
    rows = ask(Settings.from_environment(), _question(query))
    try:
        _write(rows, format, output_file)
    except (FileNotFoundError, IsADirectoryError, PermissionError, NotADirectoryError) as error:
        raise UserError(
            f"{output_file} can't be written: {error.strerror}.", "Give --output a file in a folder of yours."
        ) from None


def _question(given: str) -> str:
    from tdlens.errors import UserError

    if not given.endswith(".sql"):
        return given
    try:
        return Path(given).read_text().rstrip().removesuffix(";")
    except OSError as error:
        raise UserError(f"{given} can't be read: {error.strerror}.", "Give a file with one SELECT, or one.") from None


def _write(rows: pd.DataFrame, format: Format, path: Path | None) -> None:
    if format is Format.parquet:
        rows.to_parquet(path or sys.stdout.buffer, index=False)
    elif format is Format.table:
        _show(rows, path)
    else:
        text = rows.to_csv(index=False) if format is Format.csv else _json(rows)
        if path is None:
            sys.stdout.write(text)
        else:
            path.write_text(text)


def _show(rows: pd.DataFrame, path: Path | None) -> None:
    numeric = rows.select_dtypes("number").columns
    shown = table(rows.columns, rows.itertuples(index=False), numeric=numeric)
    if path is None:
        output().print(shown)
        messages().print(f"[dim]{len(rows)} row{'' if len(rows) == 1 else 's'}[/]")
    else:
        from rich.console import Console

        with path.open("w") as file:
            Console(file=file, width=10_000).print(shown)


def _json(rows: pd.DataFrame) -> str:
    """A list of objects; numbers keep all their digits, NULL and NaN are null."""
    records = rows.astype(object).where(rows.notna(), None).to_dict("records")
    return json.dumps(records, default=_plain, indent=1) + "\n"


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value.item()
