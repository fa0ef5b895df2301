"""``tdlens db``: the schema of the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.console import messages
from tdlens.errors import UserError

if TYPE_CHECKING:
    from tdlens.settings import Settings

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""
    Make, upgrade and check the record's schema.

    A new record gets its schema from the first command that needs one; after an update of tdlens, an old
    record is upgraded by **tdlens db upgrade** only, so that nobody's data changes unasked.
    """,
)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(commands, name="db")


@commands.command()
def upgrade() -> None:
    """Bring the schema up to date, in one transaction. Back the record up first."""
    from tdlens.record.migrate import current_revision, upgrade
    from tdlens.settings import Settings

    settings = Settings.from_environment()
    before = current_revision(settings)
    upgrade(settings)
    after = current_revision(settings)
    changed = "was up to date" if before == after else f"{before or 'nothing'} → {after}"
    messages().print(f"{settings.database}: {changed} (schema {after})")


@commands.command()
def check() -> None:
    """Say whether this version of tdlens can work with the record. Changes nothing."""
    from tdlens.record.migrate import check
    from tdlens.settings import Settings

    settings = Settings.from_environment()
    messages().print(f"{settings.database}: schema {check(settings)}, as tdlens needs it")


@commands.command()
def script(
    steps: Annotated[
        str,
        typer.Argument(metavar="[FROM:TO]", help="From what the record has now to the newest, unless given."),
    ] = "",
    dialect: Annotated[str, typer.Option(help="sqlite or postgresql. [default: the record's]")] = "",
) -> None:
    """
    Print the SQL that **tdlens db upgrade** would run: for whoever must review it, or must run it instead.

    It is one transaction, under the lock that tdlens takes itself; its first lines say how to run it so that an
    error leaves the record as it was. FROM and TO are revisions, **base** (no schema yet) or **head** (the newest),
    and then no database is asked. With TO before FROM it is the way back.

    **Examples**

    $ tdlens db script > upgrade.sql

    $ tdlens db script base:head --dialect postgresql > new.sql

    $ tdlens db script head:0002 > back.sql
    """
    from tdlens.record.migration_script import render
    from tdlens.settings import Settings

    settings = Settings.from_environment()
    start, colon, end = (steps or _what_is_missing(settings)).partition(":")
    if not colon:
        raise UserError(f"{steps!r} isn't FROM:TO.", "Name two revisions: tdlens db script base:head")
    typer.echo(render(dialect or settings.url.get_backend_name(), start, end), nl=False)


def _what_is_missing(settings: Settings) -> str:
    from tdlens.record.migrate import current_revision, refuse_newer

    found = current_revision(settings)
    refuse_newer(found, settings)
    return f"{found or 'base'}:head"
