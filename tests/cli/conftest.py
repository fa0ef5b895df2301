from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from tests.tiny_study import Workplace, copy_of, finished, workplace

Invoke = Callable[..., Result]


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The finished study; not to be changed."""
    return finished(tmp_path_factory.getbasetemp())


@pytest.fixture
def copied(done: Workplace, tmp_path: Path) -> Workplace:
    """The finished study with a home that may be changed."""
    return copy_of(done, tmp_path / "home")


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Workplace:
    """The study, not run yet."""
    return workplace(tmp_path_factory.getbasetemp(), tmp_path / "home")


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command in this process: without the seconds that importing torch takes."""

    def run(place: Workplace, *arguments: str, **environment: str) -> Result:
        with monkeypatch.context() as patch:
            for name in ("TDLENS_DATABASE_URL", "MLFLOW_TRACKING_URI"):
                patch.delenv(name, raising=False)
            patch.chdir(place.folder)
            env = {"TDLENS_HOME": str(place.home), "COLUMNS": "200", **environment}
            return CliRunner().invoke(app, list(arguments), env=env)

    return run
