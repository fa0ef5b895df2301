"""Training over several processes gives the weights and the history of one."""

import dataclasses
import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from sae.checkpoint import load, save
from sae.config import SAEConfig
from sae.replicas import Batch, GroupReplicas, Replicas
from sae.training import Trained, TrainingConfig, train

RANKS = 2
TOPK = SAEConfig("topk", 16, 40, k=3, centre=True, dead_after=60)
RELU = SAEConfig("relu", 16, 32, l1=1e-2)
CASES = {
    "relu": (RELU, 200, 40),
    "relu, other options, last batch of 3": (
        dataclasses.replace(RELU, l1_squared=False, mse_reduction="sum", centre=True),
        103,
        20,
    ),
    "relu, unscaled, one row a batch": (dataclasses.replace(RELU, scale=False), 7, 1),
    "relu, one row in all": (RELU, 1, 4),
    "topk, dead latents": (TOPK, 200, 40),
    "topk, dead latents, last batch of 1": (dataclasses.replace(TOPK, aux_k=5, mse_reduction="sum"), 101, 20),
    "topk, few of many latents": (dataclasses.replace(TOPK, d_latents=100, signed=True), 120, 30),
    "topk, resampled": (dataclasses.replace(TOPK, aux_weight=0.0, resamplings=2), 120, 30),
    "relu, resampled": (dataclasses.replace(RELU, dead_after=40, resamplings=1, transpose_init=True), 101, 20),
    "topk, no auxiliary loss": (dataclasses.replace(TOPK, aux_weight=0.0, centre=False), 150, 60),
}
"""Configuration, rows, rows a batch."""


def data(n: int) -> torch.Tensor:
    """Sums of a few of 12 sparse directions, off centre, of growing size: parts of a batch differ [n, 16]."""
    g = torch.Generator().manual_seed(7)
    codes = torch.relu(torch.randn(n, 12, generator=g) - 1)
    return (codes @ torch.randn(12, 16, generator=g) + 2) * torch.linspace(0.3, 3, n)[:, None]


def trained(config: SAEConfig, n: int, batch_size: int, **options: Replicas) -> Trained:
    return train(config, TrainingConfig(3e-3, batch_size, epochs=4), data(n), seed=3, **options)


def compute(rank: int, folder: Path) -> None:
    """What each process does: all cases, then what all of them must refuse."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS, timeout=timedelta(seconds=60)
    )
    replicas = GroupReplicas()
    histories = {}
    for index, (name, case) in enumerate(CASES.items()):
        sae, histories[name] = trained(*case, replicas=replicas)
        save(sae, folder / f"{rank}-{index}.safetensors")
    refused = []
    damaged = data(10)
    damaged[9, 3] = torch.inf  # in the last process's share
    for lr, x in ((1e-3, damaged), (1e30, data(10)), (1e-3, torch.zeros(10, 16))):
        try:
            train(RELU, TrainingConfig(lr, 4, epochs=3), x, seed=0, replicas=replicas)
        except ValueError as error:
            refused.append(str(error))
    for tensors in ([torch.ones(3)], [torch.ones(3), torch.tensor([0.0, -0.0])[rank]]):
        try:
            replicas.check_equal(tensors)
        except RuntimeError as error:
            refused.append(str(error))
    (folder / f"{rank}.json").write_text(json.dumps({"histories": histories, "refused": refused}))
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads can abort an interpreter that ends by itself


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(compute, (folder,), nprocs=RANKS)  # type: ignore[no-untyped-call]
    return folder


def told(folder: Path, rank: int) -> dict:
    return json.loads((folder / f"{rank}.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one(folder: Path, name: str) -> None:
    alone = trained(*CASES[name])
    for rank in range(RANKS):
        sae = load(folder / f"{rank}-{list(CASES).index(name)}.safetensors")
        torch.testing.assert_close(sae.state_dict(), dict(alone.sae.state_dict()), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(told(folder, rank)["histories"][name], [list(e) for e in alone.history])


def test_all_processes_end_with_the_same(folder: Path) -> None:
    assert told(folder, 0) == told(folder, 1)
    for index in range(len(CASES)):
        one, two = ((folder / f"{rank}-{index}.safetensors").read_bytes() for rank in range(RANKS))
        assert one == two


def test_what_one_process_refuses_all_do(folder: Path) -> None:
    for rank in range(RANKS):
        damaged, diverged, zero, different = told(folder, rank)["refused"]
        assert "not finite" in damaged and "diverged" in diverged and "every row is zero" in zero
        assert different == "the 2 processes that train one autoencoder hold different weights"


def test_latents_were_resampled() -> None:
    """Else the cases above would say nothing about it."""
    for name in ("topk, resampled", "relu, resampled"):
        assert any(epoch.resampled for epoch in trained(*CASES[name]).history)


def test_the_auxiliary_loss_was_at_work() -> None:
    """Else the cases above would say nothing about it."""
    config, *sizes = CASES["topk, dead latents, last batch of 1"]
    off = trained(dataclasses.replace(config, aux_weight=0.0), *sizes)
    assert trained(config, *sizes).history[1].loss > 1.001 * off.history[1].loss


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("n", [0, 1, 7, 256])
def test_shares_are_the_rows(n: int, ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "get_world_size", lambda group: ranks)
    shares = []
    for rank in range(ranks):
        monkeypatch.setattr(dist, "get_rank", lambda group, rank=rank: rank)
        shares.append(GroupReplicas().share(torch.arange(n)))
    assert torch.equal(torch.cat(shares), torch.arange(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_parts_of_a_mean_add_up_to_it() -> None:
    x = data(11)
    batch = Batch(11)
    torch.testing.assert_close(batch.mean(x[:4]) + batch.mean(x[4:]) + batch.mean(x[:0]), x.mean())
