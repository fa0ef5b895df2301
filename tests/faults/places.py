"""Where a fault test works: a study, a home and a database of its own, and commands on them."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from tdlens.fsck import check_blobs
from tdlens.record import Record
from tdlens.record.migrate import upgrade
from tdlens.settings import Settings
from tests.databases import empty_sqlite, require_postgres, temporary_database
from tests.faults import storm_study
from tests.faults.preloaded import HOOK, Preloaded, Process
from tests.tiny_study import dump, model_and_study

DATABASES = ("sqlite", "postgresql")
Rows = dict[str, list[tuple[object, ...]]]


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    returncode: int
    said: str
    """What it wrote, with the line breaks of a narrow terminal taken out."""


@dataclass(frozen=True)
class Place:
    """A study, where its record lies, and the first process of what computes it."""

    preloaded: Preloaded
    study: Path
    settings: Settings
    variables: tuple[tuple[str, str], ...] = ()
    """Further environment variables of its commands."""

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TDLENS_", "MLFLOW_"))}
        own = {"OMP_NUM_THREADS": "1", "COLUMNS": "1000", **dict(self.variables)}
        return kept | own | self.settings.environment

    def set(self, **variables: str) -> Place:
        """The same with further environment variables."""
        return replace(self, variables=(*self.variables, *variables.items()))

    def start(self, *arguments: str) -> tuple[Process, Path]:
        """A command in the background, and the file that takes what it says."""
        output = self.study.parent / f"output-{uuid.uuid4().hex}"
        return self.preloaded.start("jobs.cli", *arguments, environment=self.environment, output=output), output

    def start_run(self, workers: int) -> tuple[Process, Path]:
        """``tdlens run`` in the background, with so many local workers, or inline with none."""
        asked = ("--executor", "local", "--workers", f"{workers}") if workers else ()
        return self.start("run", str(self.study), *asked, "--no-report", "--no-mlflow")

    def tdlens(self, *arguments: str, patience: float = 300.0) -> Finished:
        """A command from its start to its end."""
        process, output = self.start(*arguments)
        code = process.wait(patience)
        return Finished(code, output.read_text())

    def run(self, *arguments: str) -> Finished:
        """``tdlens run`` of the study, without report and MLflow unless they are asked for."""
        quick = [f"--no-{extra}" for extra in ("report", "mlflow") if f"--{extra}" not in arguments]
        return self.tdlens("run", str(self.study), *quick, *arguments)

    @contextmanager
    def record(self) -> Iterator[Record]:
        opened = Record.open(self.settings)
        try:
            yield opened
        finally:
            opened.close()

    def query(self, sql: str) -> pd.DataFrame:
        with self.record() as record:
            return record.query(sql)

    def rows(self) -> Rows:
        """All that the study's views show, with its artifacts."""
        with self.record() as record:
            artifacts = record.query(
                "SELECT stage, key, CASE WHEN name LIKE 'attempt %' THEN 'attempt' ELSE name END AS name, blob "
                "FROM artifact JOIN job ON job.id = artifact.job_id JOIN study_job ON study_job.job_id = job.id"
            )
            return dump(record) | {"artifact": sorted(artifacts.itertuples(index=False, name=None))}

    def damage(self) -> list[str]:
        """What ``tdlens fsck --full`` finds damaged."""
        with self.record() as record:
            return [found.text for found in check_blobs(record, full=True) if found.damage]


@contextmanager
def database(kind: str, home: Path) -> Iterator[Settings]:
    """An empty record of its own."""
    if kind == "sqlite":
        yield empty_sqlite(home)
        return
    require_postgres()
    with temporary_database() as address:
        settings = Settings(home, address)
        upgrade(settings)
        yield settings


def storm(preloaded: Preloaded, folder: Path, settings: Settings, *, plays: int, seconds: float) -> Place:
    """The study of many short units.

    Args:
        plays: a third of its units.
        seconds: that a unit takes on average.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study = folder / "storm.toml"
    study.write_text(storm_study.TOML.format(plays=plays))
    return Place(preloaded, study, settings).set(
        **{HOOK: "tests.faults.storm_study", storm_study.SECONDS: f"{seconds}"}
    )


def tiny(preloaded: Preloaded, base: Path, folder: Path, settings: Settings) -> Place:
    """The tiny study of every stage."""
    folder.mkdir(parents=True, exist_ok=True)
    study = folder / "tiny.toml"
    shutil.copy(model_and_study(base)[1], study)
    return Place(preloaded, study, settings)
