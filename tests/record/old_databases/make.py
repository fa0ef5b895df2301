"""Makes the fixture of the present schema revision, before a migration follows it: a record as its code writes it.

    python tests/record/old_databases/make.py

The archive REVISION.tar.xz then beside this script is never made anew: later code could not write what that code wrote.
It holds a random model of two blocks, three small studies of it, and the record that they left on SQLite (tdlens.db)
and on PostgreSQL (postgresql.sql, by pg_dump), with the blobs, the same for both:

- `first` finished one intervention, and was killed in the next, so that the last is not begun;
- `second` met a blob that was gone in its intervention, and failed;
- `third` was killed in its intervention.

With --source the studies run on another checkout's code (0001 was made with that of commit ab8c235, 0002 with that of
d173787, 0003 with that of a5a810e, 0004 with that of 0751b72, 0005 with that of 436c9f6, 0006 with that of
a7315bb). PostgreSQL is the tests' (TDLENS_TEST_POSTGRES); pg_dump must be on the PATH.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import closing
from pathlib import Path

import torch
from sqlalchemy import create_engine, text
from transformers import LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "platform")]

from tests.databases import temporary_database  # noqa: E402
from tests.inference.tiny import VOCABULARY, byte_level_tokenizer  # noqa: E402

STUDY = """
name = "{name}"
title = "The {name} study"
seed = 3
bootstrap = 100

[task]
variants = ["standard", "reward_disruption"]
rollouts = 4
settings = {{ episodes = 8, random_episodes = 2, change_episode = 4 }}

[model]
name = "model"

[capture]
blocks = [1, 2]

[[sae]]
name = "paper"
expansion = 2
options = {{ l1 = 1e-4, l1_squared = true }}
epochs = 2
lr = 0.01
batch_size = 64

[correlate]
signals = ["td_error", "q_chosen", "step"]
permutations = 19
top = 4
controls = ["raw"]
"""
STUDIES = {
    "first": [{"name": "finished"}, {"name": "killed"}, {"name": "not_begun"}],
    "second": [{"name": "failed", "control": "random_direction"}],
    "third": [{"name": "killed_too", "operation": "mean"}],
}


def lay_out(folder: Path) -> None:
    """The model and the studies."""
    torch.manual_seed(0)
    size = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 512}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = LlamaConfig(**size, **heads, tie_word_embeddings=True, initializer_range=0.2)
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    byte_level_tokenizer().save_pretrained(folder / "model")
    for name, interventions in STUDIES.items():
        tables = [
            "\n[[intervention]]\n" + "".join(f'{key} = "{value}"\n' for key, value in ({"sae": "paper"} | one).items())
            for one in interventions
        ]
        (folder / f"{name}.toml").write_text(STUDY.format(name=name) + "".join(tables))


class Writer:
    """The command line of a checkout, writing one record."""

    def __init__(self, source: Path, folder: Path, home: Path, address: str) -> None:
        self.folder, self.home = folder, home
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TDLENS_", "MLFLOW_"))}
        self.environment = kept | {"PYTHONPATH": f"{source}:{source / 'platform'}", "OMP_NUM_THREADS": "1"}
        self.environment |= {"TDLENS_HOME": str(home), "TDLENS_DATABASE_URL": address}
        self.engine = create_engine(address)

    def tdlens(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from jobs.cli import main; main()", *arguments]
        return subprocess.Popen(command, env=self.environment, cwd=self.folder, text=True, stderr=subprocess.PIPE)

    def run(self, study: str) -> subprocess.Popen[str]:
        return self.tdlens("run", f"{study}.toml", "--no-report", "--no-mlflow")

    def run_and_kill(self, study: str, key: str) -> None:
        """Kill the run as soon as it computes the intervention `key`."""
        run = self.run(study)
        sql = text("SELECT count(*) FROM job WHERE key = :key AND state IN ('running', 'leased')")
        while True:
            if run.poll() is not None:
                raise RuntimeError(f"{study} ended before it could be killed: {run.stderr and run.stderr.read()}")
            time.sleep(0.02)
            with self.engine.connect() as connection:
                if connection.dialect.has_table(connection, "job") and connection.scalar(sql, {"key": key}):
                    run.kill()
                    run.wait()
                    return

    def run_without(self, study: str, blobs: list[str]) -> None:
        """Run it while some blobs are away; it must fail."""
        files = [path for path in (self.home / "blobs").rglob("*") if path.stem in blobs]
        for path in files:
            path.rename(path.with_suffix(".away"))
        code = self.run(study).wait()
        for path in files:
            path.with_suffix(".away").rename(path)
        if not files or code == 0:
            raise RuntimeError(f"{study} did not fail")

    def write(self) -> str:
        """Write the record; its schema's revision."""
        if self.tdlens("db", "upgrade").wait():
            raise RuntimeError("no schema")
        self.run_and_kill("first", "killed")
        with self.engine.connect() as connection:
            checkpoints = list(connection.scalars(text("SELECT blob FROM sae_checkpoint")))
        self.run_without("second", checkpoints)
        self.run_and_kill("third", "killed_too")
        with self.engine.connect() as connection:
            states = connection.execute(text("SELECT stage, key, state FROM job ORDER BY id")).all()
            print(*states, sep="\n")
            return str(connection.scalar(text("SELECT version_num FROM tdlens_version")))


def write_sqlite(source: Path, folder: Path) -> str:
    home = folder / "sqlite"
    writer = Writer(source, folder, home, f"sqlite:///{home / 'tdlens.db'}")
    revision = writer.write()
    writer.engine.dispose()
    with closing(sqlite3.connect(home / "tdlens.db")) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("VACUUM")
    shutil.copy(home / "tdlens.db", folder)
    return revision


def write_postgresql(source: Path, folder: Path) -> str:
    with temporary_database() as address:
        writer = Writer(source, folder, folder / "postgresql", address)
        revision = writer.write()
        writer.engine.dispose()
        options = ["--no-owner", "--no-privileges", "--rows-per-insert=1000", "--schema=public"]
        libpq = address.replace("+psycopg", "")
        dumped = subprocess.run(["pg_dump", *options, libpq], check=True, capture_output=True, text=True).stdout
    # psql's own commands, and a schema that every database has
    own = ("\\restrict ", "\\unrestrict ", "CREATE SCHEMA public;")
    lines = [line for line in dumped.splitlines(keepends=True) if not line.startswith(own)]
    (folder / "postgresql.sql").write_text("".join(lines))
    return revision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=CHECKOUT, help="checkout whose code writes the record")
    source = parser.parse_args().source.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(folder)
        revision = write_sqlite(source, folder)
        if write_postgresql(source, folder) != revision:
            raise RuntimeError("two revisions")
        for home in ("sqlite", "postgresql"):
            shutil.copytree(folder / home / "blobs" / "sha256", folder / "blobs" / "sha256", dirs_exist_ok=True)
        archive = HERE / f"{revision}.tar.xz"
        with tarfile.open(archive, "x:xz") as tar:
            for part in ("model", "tdlens.db", "postgresql.sql", "blobs", *(f"{study}.toml" for study in STUDIES)):
                tar.add(folder / part, part)
    print(archive, archive.stat().st_size)


if __name__ == "__main__":
    main()
