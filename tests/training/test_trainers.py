"""Autoencoders over ranks: those of one process, the same rows, and what happens when a rank dies."""

import os
import signal
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from jobs.inference.ranks.group import GroupSettings, RanksFailed
from jobs.inference.ranks.join import Rank
from jobs.sections import ModelSection, SAESection
from jobs.training import program
from jobs.training.trainers import LocalTrainer, RankedTrainer, make_trainer, n_ranks
from sae.config import SAEConfig
from sae.replicas import Replicas
from sae.training import TrainingConfig
from tdlens.errors import UserError
from tests.jobs.small_study import WHOLE, fresh_record, run, study

CPU = torch.device("cpu")
TOPK = SAEConfig("topk", 16, 40, k=3, centre=True, dead_after=60)
TRAINING = TrainingConfig(lr=1e-3, batch_size=64, epochs=3)
X = torch.randn(300, 16, generator=torch.Generator().manual_seed(0)) + 1


def test_ranks_train_as_one_process_until_one_dies() -> None:
    steps = []
    alone = LocalTrainer(CPU).fit(TOPK, TRAINING, X, seed=3, on_step=lambda: None)
    trainer = RankedTrainer(GroupSettings(2, "cpu", "torchrun", timeout=120))
    together = trainer.fit(TOPK, TRAINING, X, seed=3, on_step=lambda: steps.append(1))
    state = dict(alone.sae.state_dict())
    torch.testing.assert_close(dict(together.sae.state_dict()), state, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close([list(e) for e in together.history], [list(e) for e in alone.history])
    assert together.metrics == pytest.approx(alone.metrics, rel=1e-5)
    assert len(steps) == 15

    group = trainer._group
    assert group is not None
    with pytest.raises(RanksFailed, match="Rank 1 of 2 died of signal 9"):
        trainer.fit(TOPK, TRAINING, X, seed=3, on_step=lambda: os.kill(group.pids[1], signal.SIGKILL))
    assert not group.alive


def test_a_loss_that_diverges_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "GroupReplicas", Replicas)
    said: list[Mapping[str, Any]] = []
    ranked = program.TrainingProgram(Rank(0, 1, CPU), {}, {}, said.append)
    training = {"lr": 1e30, "batch_size": 64, "epochs": 3}
    with pytest.raises(UserError, match="the loss diverged"):
        ranked.answer({"autoencoder": asdict(TOPK), "training": training, "seed": 0}, {"x": X})
    assert said[:2] == [{"step": 1}, {"step": 2}]


def test_a_study_has_the_same_rows_whatever_its_ranks(tmp_path: Path) -> None:
    paper = WHOLE["sae"][0]
    changes = {"capture": {"blocks": [2]}, "intervention": [], "correlate": {"controls": []}}
    changes["model"] = {"parallel": {"launcher": "torchrun"}}
    studies = {n: study(tmp_path, WHOLE, sae=[paper | {"ranks": n}], **changes) for n in (1, 2)}
    metrics = {}
    for n, wanted in studies.items():
        with fresh_record("sqlite", tmp_path / str(n)) as record:
            assert run(wanted, record).computed
            metrics[n] = record.query("SELECT name, value FROM sae_metric ORDER BY name")
            assert run(studies[1], record).computed == 0  # another number of ranks makes no other unit
    pd.testing.assert_frame_equal(metrics[1], metrics[2], rtol=1e-5)


@pytest.mark.parametrize(
    ("ranks", "batch_size", "engine", "parallel", "device", "expected"),
    [
        (None, 4096, "hf", {}, "cpu", 1),
        (None, 4096, "deepspeed", {"ranks": 2}, "cpu", 1),
        (3, 16, "hf", {}, "cpu", 3),
        (None, 256, "deepspeed", {}, "cuda", 1),
        (None, 1024, "deepspeed", {}, "cuda", 4),
        (None, 4096, "deepspeed", {}, "cuda", 8),
        (None, 4096, "deepspeed", {"ranks": 2}, "cuda", 2),
        (None, 4096, "hf", {}, "cuda", 1),
    ],
)
def test_how_many_ranks(
    monkeypatch: pytest.MonkeyPatch,
    ranks: int | None,
    batch_size: int,
    engine: str,
    parallel: dict[str, int],
    device: str,
    expected: int,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    section = SAESection(name="paper", options={"l1": 1e-5}, batch_size=batch_size, ranks=ranks)
    model = ModelSection(engine=engine, parallel=parallel)
    assert n_ranks(section, model, torch.device(device)) == expected


@pytest.mark.parametrize(("n", "device"), [(9, "cuda"), (2, "cuda:1")])
def test_more_ranks_than_gpus(monkeypatch: pytest.MonkeyPatch, n: int, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    with pytest.raises(UserError, match=f"trained on {n} GPUs, and this machine"):
        make_trainer(n, ModelSection(), torch.device(device))
