"""``tdlens db``: the schema of the record."""

from __future__ import annotations

import typer

from jobs.cli.console import messages

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
