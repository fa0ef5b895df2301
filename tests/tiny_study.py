"""A study that takes seconds: a tiny random Llama, two variants, two blocks, two interventions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tdlens.record import Record
from tdlens.record.views import VIEWS
from tdlens.settings import Settings
from tests.inference.tiny import byte_level_tokenizer, tiny_model
from tests.shared_folders import shared

NAME = "tiny"
TOML = """
name = "tiny"
title = "Tiny [test] study"
seed = 3
bootstrap = 100

[task]
variants = ["standard", "reward_disruption"]
rollouts = 6
settings = {{ episodes = 10, random_episodes = 3, change_episode = 5 }}

[model]
name = "{model}"

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
signals = ["td_error", "q_left", "q_right", "q_chosen", "q_max", "q_difference", "step"]
permutations = 19
top = 8
controls = ["raw", "shuffled"]

[[intervention]]
name = "zero_td"
sae = "paper"

[[intervention]]
name = "random_direction"
sae = "paper"
control = "random_direction"
"""


@dataclass(frozen=True)
class Workplace:
    """A model, a study and a home, and the command line in them."""

    folder: Path
    study: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a command: nothing of the caller's that tdlens reads, one thread."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TDLENS_", "MLFLOW_"))}
        return kept | {"TDLENS_HOME": str(self.home), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def tdlens(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a user would."""
        command = [sys.executable, "-c", "from jobs.cli import main; main()", *arguments]
        return subprocess.run(
            command, env=self.environment | environment, cwd=self.folder, capture_output=True, text=True
        )

    @property
    def settings(self) -> Settings:
        return Settings.from_environment({"TDLENS_HOME": str(self.home)})

    def record(self) -> Record:
        return Record.open(self.settings)


@cache
def model_and_study(base: Path) -> tuple[Path, Path]:
    """A folder with a saved model, and the study that uses it; made once in a test run whose folder is `base`."""
    with shared(base, "tiny") as folder:
        model, study = folder / "model", folder / "tiny.toml"
        if not study.exists():
            tiny_model("llama").save_pretrained(model)
            byte_level_tokenizer().save_pretrained(model)
            study.write_text(TOML.format(model=model))
    return folder, study


def workplace(base: Path, home: Path) -> Workplace:
    """The tiny study with a home of its own."""
    folder, study = model_and_study(base)
    return Workplace(folder, study, home)


@cache
def finished(base: Path) -> Workplace:
    """The study as one whole `tdlens run` left it; made once in a test run, to be read and copied, not changed."""
    with shared(base, "finished") as folder:
        place = workplace(base, folder / "home")
        if not (folder / "stderr.txt").exists():
            result = place.tdlens("run", str(place.study))
            assert result.returncode == 0, result.stderr
            (folder / "stderr.txt").write_text(result.stderr)
    return place


def copy_of(place: Workplace, home: Path) -> Workplace:
    """The same study with a copy of its home, to be changed."""
    # what has a connection open right now may remove these files meanwhile; after a run they hold nothing
    shutil.copytree(place.home, home, ignore=shutil.ignore_patterns("*-wal", "*-shm"))
    return Workplace(place.folder, place.study, home)


def dump(record: Record) -> dict[str, list[tuple[object, ...]]]:
    """The rows of every view in one order, without keys, moments, attempts, workers and the state of the source."""
    own = {"rollout", "job", "capture", "created", "started", "finished", "attempt", "owner", "lease_until"}
    own |= {"git_commit", "git_dirty"}
    quoted = '"{}"'.format  # "return" is a word of SQL's own
    found = {}
    for view, columns in VIEWS.items():
        if view in ("v_submission", "v_worker"):  # how it was computed, not what
            continue
        kept = [column for column in columns if column not in own]
        table = record.query(f"SELECT {', '.join(map(quoted, kept))} FROM {view}")  # noqa: S608
        plain = table.astype(object).where(table.notna(), None)
        found[view] = sorted(map(tuple, plain.itertuples(index=False)), key=repr)
    return found
