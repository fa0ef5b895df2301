"""Run before anything else starts: roles and databases for tdlens and MLflow, which never share one, and their schemas.

Every step may be repeated, so whatever an interrupted start left is completed by the next one, and a password changed
in .env takes effect. One lock over all of it: MLflow's own can't keep two containers apart.
"""

import os
import subprocess
import sys

import psycopg
from psycopg import sql

LOCK = 7_445_010_802
"""Key of the server's advisory lock; any number that no other program uses."""
UPGRADES = {
    "tdlens": ("tdlens", "db", "upgrade"),
    "mlflow": ("mlflow", "db", "upgrade", "postgresql+psycopg://mlflow@db:5432/mlflow"),
}
"""Of each role, which owns the database of the same name."""


def prepare(server: psycopg.Connection, name: str, password: str) -> None:
    """A role with this password and a database of its own, which nobody else may enter."""
    role = sql.Identifier(name)
    if not server.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).rowcount:
        server.execute(sql.SQL("CREATE ROLE {}").format(role))
    # the server gets a hash, so that its log can't hold the password
    hashed = server.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    server.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(hashed)))
    if not server.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount:
        server.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
    server.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(role))


def main() -> int:
    """Make and upgrade everything; the exit code of the first upgrade that fails, or 0."""
    try:
        server = psycopg.connect(host="db", user="postgres", password=os.environ["POSTGRES_PASSWORD"], autocommit=True)
    except psycopg.OperationalError as error:
        print(error, "\n  Fix: POSTGRES_PASSWORD in .env must be that of the volume's first start.", file=sys.stderr)
        return 2
    with server:
        server.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        for name, upgrade in UPGRADES.items():
            password = os.environ[f"{name.upper()}_DB_PASSWORD"]
            prepare(server, name, password)
            code = subprocess.run(upgrade, env=os.environ | {"PGPASSWORD": password}, check=False).returncode
            if code:
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
