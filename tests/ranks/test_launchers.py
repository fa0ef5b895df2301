"""From the command line through a worker and DeepSpeed's own launcher to the ranks, and back into the record."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.databases import empty_sqlite
from tests.faults.places import Place
from tests.faults.preloaded import Preloaded
from tests.tiny_study import model_and_study

TOML = """
name = "launched"

[task]
rollouts = 4
settings = {{ episodes = 4, random_episodes = 1, change_episode = 2 }}

[model]
name = "{model}"
engine = "deepspeed"
parallel = {{ ranks = 2 }}

[correlate]
controls = []
permutations = 19
"""


@pytest.mark.slow
def test_a_worker_computes_on_ranks_that_deepspeeds_launcher_started(preloaded: Preloaded, tmp_path: Path) -> None:
    folder, _ = model_and_study(tmp_path)
    study = tmp_path / "launched.toml"
    study.write_text(TOML.format(model=folder / "model"))
    place = Place(preloaded, study, empty_sqlite(tmp_path / "home"))
    refused = place.run("--executor", "local", "--workers", "2")
    assert refused.returncode == 2
    assert "Each of 2 workers would start ranks of its own" in " ".join(refused.said.split())

    done = place.run("--executor", "local")
    assert done.returncode == 0, done.said
    (log,) = place.settings.home.rglob("worker-1.log")
    said = " ".join(log.read_text().split())
    assert "tensor parallel on 2 processes" in said and "play standard published" in said
    (row,) = place.query("SELECT DISTINCT device FROM v_job WHERE stage = 'play'").itertuples()
    assert row.device.startswith("2 x cpu, deepspeed tensor")
    assert place.query("SELECT count(*) AS n FROM v_step WHERE policy = 'model'").n[0] == 4 * 4 * 2
