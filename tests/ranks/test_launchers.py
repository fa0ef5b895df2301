"""From the command line through a worker and DeepSpeed's own launcher to the ranks, and back into the record."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_study import Workplace, model_and_study

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
def test_a_worker_computes_on_ranks_that_deepspeeds_launcher_started(tmp_path: Path) -> None:
    folder, _ = model_and_study(tmp_path)
    study = tmp_path / "launched.toml"
    study.write_text(TOML.format(model=folder / "model"))
    place = Workplace(tmp_path, study, tmp_path / "home")
    arguments = ("run", str(study), "--executor", "local", "--no-report", "--no-mlflow")
    refused = place.tdlens(*arguments, "--workers", "2")
    assert refused.returncode == 2
    assert "Each of 2 workers would start ranks of its own" in " ".join(refused.stderr.split())

    done = place.tdlens(*arguments)
    assert done.returncode == 0, done.stderr
    (log,) = place.home.rglob("worker-1.log")
    said = " ".join(log.read_text().split())
    assert "tensor parallel on 2 processes" in said and "play standard published" in said
    record = place.record()
    (row,) = record.query("SELECT DISTINCT device FROM v_job WHERE stage = 'play'").itertuples()
    assert row.device.startswith("2 x cpu, deepspeed tensor")
    assert record.query("SELECT count(*) AS n FROM v_step WHERE policy = 'model'").n[0] == 4 * 4 * 2
    record.close()
