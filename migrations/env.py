"""Alembic's entry: on the connection tdlens.record.migrate hands over, or on the environment's record."""

from alembic import context
from sqlalchemy import Connection

from tdlens.errors import UserError
from tdlens.record.engine import make_engine
from tdlens.record.migrate import OPTIONS
from tdlens.settings import Settings


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    raise UserError("Migrations as an SQL script aren't supported.", "Let tdlens migrate: tdlens db upgrade")

given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    with make_engine(Settings.from_environment(), foreign_keys=False).begin() as own:
        migrate(own)
