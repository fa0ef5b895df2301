"""A PostgreSQL server of a test's own, which may be restarted, crashed and filled up.

It flushes to the disk as PostgreSQL does by default, and listens on loopback. Its programs are those of the machine
(TDLENS_TEST_POSTGRES_BIN, or the newest in /usr/lib/postgresql); as root they run as the user postgres, whom
PostgreSQL asks for.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

USER = "postgres"


def programs() -> Path | None:
    """Folder of initdb and pg_ctl, or None where there is no PostgreSQL."""
    named = os.environ.get("TDLENS_TEST_POSTGRES_BIN")
    if named:
        return Path(named)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parents[1].name))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@dataclass(frozen=True)
class Server:
    """A running server; its one role is the superuser postgres, who needs no password."""

    bin: Path
    data: Path
    port: int

    def address(self, database: str = "postgres", *, port: int | None = None) -> str:
        """For TDLENS_DATABASE_URL."""
        return f"postgresql+psycopg://{USER}@127.0.0.1:{port or self.port}/{database}"

    def administer(self, statement: str) -> None:
        """One statement outside of transactions."""
        with psycopg.connect(self.address().replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(statement.encode())

    def control(self, *arguments: str) -> None:
        """``pg_ctl``: restart -m immediate (a crash, with recovery), restart -m fast, stop, start."""
        log = self.data.parent / "server.log"
        command = [*arguments, "-w", "-t", "120", "-D", str(self.data), "-l", str(log)]
        _run([str(self.bin / "pg_ctl"), *command], self.data.parent)


@contextmanager
def postgres_server(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A new server whose data lie in an existing folder; stopped at the end.

    Args:
        folder: it must lie where the user postgres can reach it, and short, as a socket is put there.
        settings: of postgresql.conf.
    """
    bin = programs()
    if bin is None:
        problem = "no initdb in /usr/lib/postgresql or on the path"
        if os.environ.get("TDLENS_REQUIRE_POSTGRES") == "1":
            pytest.fail(problem)
        pytest.skip(problem)
    give(folder)
    server = Server(bin, folder / "data", _free_port())
    _run([str(bin / "initdb"), "--no-sync", "-D", str(server.data), "-U", USER, "-A", "trust", "-E", "UTF8"], folder)
    own = {"port": f"{server.port}", "listen_addresses": "'127.0.0.1'", "unix_socket_directories": "''"}
    lines = [f"{name} = {value}\n" for name, value in (own | dict(settings or {})).items()]
    with (server.data / "postgresql.conf").open("a") as file:
        file.writelines(lines)
    server.control("start")
    try:
        yield server
    finally:
        server.control("stop", "-m", "immediate")


def give(folder: Path) -> None:
    """Make a folder the server's own."""
    if os.geteuid() == 0:
        shutil.chown(folder, USER)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(command: list[str], folder: Path) -> None:
    """As the user postgres when this process is root's."""
    user = {}
    if os.geteuid() == 0:
        found = pwd.getpwnam(USER)
        user = {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    # Output goes to a file: the server inherits it, and a pipe would be held open by it for ever.
    with (folder / f"{Path(command[0]).name}.log").open("ab") as log:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **user)  # type: ignore[call-overload]
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}:\n{Path(log.name).read_text()[-2000:]}")
