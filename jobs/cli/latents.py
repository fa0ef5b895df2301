"""``tdlens show latents``: the latents that follow a learning signal."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.console import messages, output, table

if TYPE_CHECKING:
    import pandas as pd

    from tdlens.settings import Settings

commands = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Show results of a study without writing SQL."
)

COLUMNS = ("sae", "block", "latent", "r", "95 % CI", "held-out r", "partial r", "p family-wise", "q")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.add_typer(commands, name="show")


@commands.callback()
def show() -> None:
    """Show results of a study without writing SQL."""


@commands.command()
def latents(
    signal: Annotated[str, typer.Option(help="A learning signal, for example td_error or q_chosen.")],
    block: Annotated[int | None, typer.Option(help="Only this block (i = output of the i-th decoder block).")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many latents.")] = 10,
    study: Annotated[str | None, typer.Option(help="Default: the study that ran last.")] = None,
    sae: Annotated[str | None, typer.Option(help="Only this autoencoder.")] = None,
) -> None:
    """
    List the latents with the strongest correlation with a signal, and what speaks for and against each.

    **r** is over all decisions; **held-out r** over the half of the rollouts that latents
    were not chosen on; **partial r** holds the study's covariates constant; **p family-wise**
    is the chance of any latent of any block reaching such an r when whole rollouts are permuted; **q**
    is the false discovery rate.

    **Examples**

    $ tdlens show latents --signal td_error

    $ tdlens show latents --signal q_chosen --block 4 --top 20 --sae paper
    """
    from tdlens.rows import rows
    from tdlens.settings import Settings

    settings = Settings.from_environment()
    study = _study(settings, study)
    _check_signal(settings, study, signal)
    kept = _kept(settings, study, signal, block, sae)
    if kept.empty:
        _explain_nothing(settings, study, signal, block, sae)
        return
    console = output()
    console.print(f"[bold]{study}[/]: latents by |r| with {signal}")
    cells = [
        (
            *(row.sae, row.block, row.latent, _number(row.r, "+.3f"), _interval(row.ci_low, row.ci_high)),
            *(_number(row.r_heldout, "+.3f"), _number(row.r_partial, "+.3f")),
            *(_number(row.p_familywise, ".3g"), _number(row.q_value, ".3g")),
        )
        for row in rows(kept.head(top))
    ]
    console.print(table(COLUMNS, cells, numeric=COLUMNS[1:]))
    alpha = _alpha(settings, study)
    significant = int((kept.p_familywise <= alpha).sum())
    if significant:
        verb = "is" if significant == 1 else "are"
        console.print(f"{significant} of the {len(kept)} kept {verb} significant family-wise (p ≤ {alpha:g}).")
    else:
        console.print(
            f"[yellow]None is significant[/]: the permutation null explains the strongest of them "
            f"(smallest family-wise p {kept.p_familywise.min():.3g}, level {alpha:g})."
        )


def _study(settings: Settings, name: str | None) -> str:
    from tdlens.errors import UserError
    from tdlens.record.query import query

    ran = query(
        settings,
        "SELECT v_study.study AS study, max(v_job.started) AS last FROM v_study"
        " LEFT JOIN v_job ON v_job.study = v_study.study AND v_job.stage <> 'import'"
        " GROUP BY v_study.study ORDER BY max(v_job.started) IS NULL, last DESC",
    )
    known = list(ran.study)
    if not known:
        raise UserError("The record holds no study yet.", "Run one: tdlens run studies/two_step_demo.toml")
    if name is None:
        if len(known) > 1:
            messages().print(f"[dim]The study that ran last: {known[0]} (--study for another).[/]")
        return str(known[0])
    if name not in known:
        raise UserError(f"There is no study {name!r}{_hint(name, known)}.", f"Studies: {', '.join(known)}.")
    return name


def _check_signal(settings: Settings, study: str, signal: str) -> None:
    from tdlens.errors import UserError
    from tdlens.record.query import query

    sql = "SELECT DISTINCT signal FROM v_coverage WHERE study = :study ORDER BY signal"
    known = list(query(settings, sql, {"study": study}).signal)
    if not known:
        raise UserError(
            f"Nothing has been correlated in {study} yet.",
            "Let its run come to the end (tdlens status shows how far it is).",
        )
    if signal not in known:
        raise UserError(
            f"{study} has no correlations with {signal!r}{_hint(signal, known)}.",
            f"Signals: {', '.join(known)}.",
        )


def _kept(settings: Settings, study: str, signal: str, block: int | None, sae: str | None) -> pd.DataFrame:
    """The kept correlations, strongest first."""
    from tdlens.record.query import query

    sql = "SELECT * FROM v_latent_correlation WHERE study = :study AND signal = :signal"
    parameters: dict[str, str | int] = {"study": study, "signal": signal}
    for column, value in (("block", block), ("sae", sae)):
        if value is not None:
            sql += f" AND {column} = :{column}"
            parameters[column] = value
    return query(settings, f"{sql} ORDER BY abs(r) DESC, block, latent", parameters)


def _explain_nothing(settings: Settings, study: str, signal: str, block: int | None, sae: str | None) -> None:
    """Nothing kept: because nothing was computed there, or because no latent was alive."""
    from tdlens.errors import UserError
    from tdlens.record.query import query

    covered = query(
        settings,
        "SELECT sae, block, n_latents, n_live FROM v_coverage"
        " WHERE study = :study AND signal = :signal AND source = 'sae'",
        {"study": study, "signal": signal},
    )
    saes, blocks = sorted(set(covered.sae)), sorted(set(covered.block))
    if sae is not None and sae not in saes:
        raise UserError(f"{study} has no autoencoder {sae!r}{_hint(sae, saes)}.", f"Autoencoders: {', '.join(saes)}.")
    if block is not None and block not in blocks:
        raise UserError(f"Block {block} of {study} wasn't analysed.", f"Blocks: {', '.join(map(str, blocks))}.")
    output().print(f"No latent was alive there, so none correlates with {signal}.")


def _alpha(settings: Settings, study: str) -> float:
    from tdlens.record.query import query

    sql = "SELECT max(alpha) AS alpha FROM v_coverage WHERE study = :study AND source = 'sae'"
    return float(query(settings, sql, {"study": study}).alpha.item())


def _number(value: float | None, spec: str) -> str:
    """Nothing where it isn't defined, such as r given the signal itself."""
    return "–" if value is None or value != value else format(value, spec)


def _interval(low: float | None, high: float | None) -> str:
    return f"[{_number(low, '+.3f')}, {_number(high, '+.3f')}]"


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
