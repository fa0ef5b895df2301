"""Where the record lies: read once from the environment, passed on explicitly."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from tdlens.errors import UserError

_REMEDY = (
    "Set TDLENS_DATABASE_URL to postgresql+psycopg://USER:PASSWORD@HOST:5432/NAME or to "
    "sqlite:////absolute/path.db, or unset it to use SQLite in TDLENS_HOME."
)


@dataclass(frozen=True)
class Settings:
    """The places of one record."""

    home: Path
    """Folder of all that tdlens keeps (TDLENS_HOME, default `.tdlens` in the working directory)."""

    database_url: str
    """SQLAlchemy address of the record (TDLENS_DATABASE_URL, default SQLite in `home`), password included."""

    blobs_url: str = ""
    """fsspec address of the blobs (TDLENS_BLOBS), such as s3://bucket/folder; empty: a folder in `home`."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Settings from TDLENS_HOME, TDLENS_DATABASE_URL and TDLENS_BLOBS; unset or empty means the default.

        Raises:
            UserError: the database address can't be read, or isn't of SQLite or PostgreSQL.
        """
        home = Path(environ.get("TDLENS_HOME") or ".tdlens").expanduser().absolute()
        address = environ.get("TDLENS_DATABASE_URL")
        url = _checked(address) if address else URL.create("sqlite", database=str(home / "tdlens.db"))
        return cls(home, url.render_as_string(hide_password=False), environ.get("TDLENS_BLOBS") or "")

    @property
    def environment(self) -> dict[str, str]:
        """Variables that give another process the same settings; the database's password is among them."""
        return {
            "TDLENS_HOME": str(self.home),
            "TDLENS_DATABASE_URL": self.database_url,
            "TDLENS_BLOBS": self.blobs_url,
        }

    @property
    def url(self) -> URL:
        return make_url(self.database_url)

    @property
    def database(self) -> str:
        """The database's address as shown to people: without its password."""
        return self.url.render_as_string(hide_password=True)

    @property
    def sqlite_path(self) -> Path | None:
        """The database file, or None on PostgreSQL."""
        url = self.url
        return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None

    @property
    def blobs(self) -> Path:
        """The blobs' folder; where they lie elsewhere, the folder of copies that were read or written here."""
        return self.home / ("cache" if self.blobs_url else "blobs")

    @property
    def mlflow_uri(self) -> str:
        """MLflow's own database. It never shares ours: both libraries number their schema."""
        return f"sqlite:///{self.home / 'mlflow.db'}"

    @property
    def mlartifacts(self) -> Path:
        return self.home / "mlartifacts"

    @property
    def trainings(self) -> Path:
        """Where trainings work until the record has their models, a folder for each unit's identity."""
        return self.home / "trainings"

    @property
    def reports(self) -> Path:
        return self.home / "reports"


def _checked(address: str) -> URL:
    try:
        url = make_url(address)
    except ArgumentError:
        # The address itself isn't shown: what can't be parsed may still hold a password.
        raise UserError("TDLENS_DATABASE_URL isn't a database address.", _REMEDY) from None
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        if not url.database:
            raise UserError("TDLENS_DATABASE_URL names no database.", _REMEDY)
        return url.set(drivername="postgresql+psycopg")
    if url.drivername != "sqlite":
        raise UserError(f"TDLENS_DATABASE_URL: tdlens doesn't work with {url.drivername!r}.", _REMEDY)
    if not url.database or url.database == ":memory:":
        raise UserError("TDLENS_DATABASE_URL names no file: a record must outlive the process.", _REMEDY)
    return url.set(database=str(Path(url.database).expanduser().absolute()))
