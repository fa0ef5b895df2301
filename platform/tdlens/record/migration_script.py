"""Migrations as SQL, for whoever must read it before it runs, or run it without tdlens."""

import io

from alembic import command

import tdlens
from tdlens.errors import UserError
from tdlens.record.migrate import alembic_config, revisions

PROGRAMS = {
    "sqlite": "sqlite3 -bail tdlens.db < SCRIPT",
    "postgresql": "psql --set ON_ERROR_STOP=1 --file SCRIPT DATABASE",
}
"""Of each dialect: how a script is run so that it stops at the first error and changes nothing."""


def render(dialect: str, start: str, end: str) -> str:
    """The SQL of all migrations between two revisions, in one transaction; no database is asked.

    It holds the lock that `tdlens db upgrade` holds, and leaves the same schema.

    Args:
        dialect: sqlite or postgresql.
        start: the revision that the database has; `base` where it is empty.
        end: the one that it will have; `head` is the newest. An earlier one than `start` gives the way back.

    Raises:
        UserError: no such dialect or revision, or two that are one.
    """
    if dialect not in PROGRAMS:
        raise UserError(f"There is no dialect {dialect!r}.", f"Choose one of: {', '.join(PROGRAMS)}.")
    known = ["base", *revisions()]
    start, end = (known[-1] if name == "head" else name for name in (start, end))
    for name in (start, end):
        if name not in known:
            raise UserError(f"There is no revision {name!r} of the schema.", f"There are {', '.join(known)}.")
    if start == end:
        raise UserError(f"From {start} to {end} there is nothing to do.", f"The revisions are {', '.join(known)}.")
    config = alembic_config()
    config.attributes["dialect"] = dialect
    config.output_buffer = io.StringIO()
    if known.index(start) < known.index(end):
        command.upgrade(config, f"{start}:{end}", sql=True)
    else:
        command.downgrade(config, f"{start}:{end}", sql=True)
    head = f"-- tdlens {tdlens.__version__}: schema {start} to {end}, {dialect}\n-- {PROGRAMS[dialect]}\n\n"
    return head + config.output_buffer.getvalue()
