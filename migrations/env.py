"""Alembic's entry: on the connection tdlens.record.migrate hands over, or on the environment's record."""

from alembic import context
from sqlalchemy import Connection

from tdlens.record.engine import make_engine
from tdlens.record.migrate import LOCK, OPTIONS
from tdlens.settings import Settings


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


def render(dialect: str) -> None:
    """As SQL: `alembic upgrade --sql`. The script must do by itself what tdlens.record.migrate does around it."""
    context.configure(
        dialect_name=dialect,
        dialect_opts={"paramstyle": "named"},  # the drivers' own would double each percent sign
        literal_binds=True,
        transactional_ddl=True,
        **OPTIONS,
    )
    if dialect == "sqlite":  # where a table is rebuilt, others refer to nothing meanwhile
        context.execute("PRAGMA foreign_keys = OFF")
    with context.begin_transaction():
        if dialect == "postgresql":
            context.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        context.run_migrations()
    if dialect == "sqlite":
        context.execute("PRAGMA foreign_keys = ON")


given = context.config.attributes
if context.is_offline_mode():
    render(given.get("dialect") or Settings.from_environment().url.get_backend_name())
elif "connection" in given:
    migrate(given["connection"])
else:
    with make_engine(Settings.from_environment(), foreign_keys=False).begin() as own:
        migrate(own)
