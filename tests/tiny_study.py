"""A study that takes seconds: a tiny random Llama, two variants, two blocks, two interventions."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from tdlens.record import Record
from tdlens.settings import Settings

from tests.inference.tiny import byte_level_tokenizer, tiny_model

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
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("TDLENS_", "MLFLOW_"))
        }
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
def model_and_study(factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with a saved model, and the study that uses it; made once a session."""
    folder = factory.mktemp("tiny")
    model = folder / "model"
    tiny_model("llama").save_pretrained(model)
    byte_level_tokenizer().save_pretrained(model)
    study = folder / "tiny.toml"
    study.write_text(TOML.format(model=model))
    return folder, study


def workplace(factory: pytest.TempPathFactory, home: Path) -> Workplace:
    """The tiny study with a home of its own."""
    folder, study = model_and_study(factory)
    return Workplace(folder, study, home)
