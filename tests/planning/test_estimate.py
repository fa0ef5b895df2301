"""Memory and disk of a plan against what is really written and held, and what is said where a study doesn't fit."""

from __future__ import annotations

import dataclasses
import weakref
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from jobs.inference.base import TokenBatch
from jobs.inference.layout import Node
from jobs.inference.shapes import ModelShape, shipped_config
from jobs.planning.devices import GPUS, known_gpu, measured_cpu
from jobs.planning.disk import Disk
from jobs.planning.estimate import Estimate, estimate, refusal
from jobs.planning.memory import RESERVED, device_working, kv_cache, training_device, training_ranks
from jobs.planning.nodes import Space, node_of
from jobs.planning.remedies import what_would_fit
from jobs.planning.scope import Scope
from jobs.planning.speed import DISK, training_seconds
from jobs.planning.texts import Texts
from jobs.stages.correlate import _long
from jobs.study import Study, validate
from sae.permutation_null import rollout_permutations
from sae.rollout_statistics import correlate_rollouts, split_halves
from tdlens.blobs import BlobStore
from tdlens.errors import UserError
from tests.inference.tiny import tiny_engine
from tests.planning.machines import PROCESSOR, with_gpu, without_gpu

TEXTS = Texts(np.full((4, 60), 17), measured=True)


def study(**sections: Any) -> Study:
    plain: dict[str, Any] = {
        "name": "planned",
        "sae": [{"name": "paper", "options": {"l1": 1e-5}}],
        "correlate": {"controls": ["raw"]},
    }
    return validate(plain | sections, "planned")


@cache
def shape_of(size: str) -> ModelShape:
    return ModelShape.of(shipped_config(f"meta-llama/Meta-Llama-3-{size}"))


def scope_of(size: str = "8B", **sections: Any) -> Scope:
    return Scope(study(**sections), shape_of(size), TEXTS)


def planned(scope: Scope, gpus: int = 1, host: float | None = None, disk: float | None = None) -> Estimate:
    return estimate(scope, node(gpus, host), with_gpu("h100"), space(disk))


def node(gpus: int, host: float | None = None) -> Node:
    return Node(gpus, round(80e9) if gpus else 0, None if host is None else round(host * 1e9), "h100" if gpus else "")


def space(disk: float | None) -> Space:
    return Space(blobs=None if disk is None else round(disk * 1e9))


BF16 = {"model": {"dtype": "bfloat16"}}


@pytest.mark.parametrize("n_features", [40, 400])
def test_bytes_of_a_matrix_of_correlations(n_features: int, tmp_path: Path) -> None:
    """A row takes what its measured numbers take: these have nothing to compress."""
    random = np.random.default_rng(0)
    signals = [f"signal_{i}" for i in range(12)]
    strata = np.repeat([0, 1], 6)
    result = correlate_rollouts(
        random.normal(size=(12, 20, n_features)).astype(np.float32),
        random.normal(size=(12, 20, 12)),
        covariates=random.normal(size=(12, 20, 2)),
        strata=strata,
        selection=split_halves(strata, seed=0),
        permutations=rollout_permutations(strata, 20, seed=0),
    )
    about = pd.DataFrame({"latent": range(n_features), "frequency": random.random(n_features), "rms": 1.0})
    store = BlobStore(tmp_path)
    written = store.put_table(_long(result, about, tuple(signals), 1), group=n_features).bytes
    written += store.put_tensors(result.family.to_tensors()).bytes

    config = study(
        sae=[],
        capture={"blocks": [1]},
        correlate={"controls": ["raw"], "permutations": 20},
    )
    shape = dataclasses.replace(shape_of("8B"), d_model=n_features)
    expected = Disk.of(Scope(config, shape, TEXTS)).correlations
    assert len(config.correlate.signals) == 12
    assert written == pytest.approx(expected, rel=0.1, abs=10_000)


def test_cache_of_a_batch_of_tensor_parallel_ranks() -> None:
    """A hundred rollouts of 1,020 tokens, 131 kB a token (32 blocks, 8 heads of 128, keys and values, bfloat16)."""
    scope = scope_of(**BF16)
    assert kv_cache(scope, "single", 1) == 100 * 1020 * 32 * 8 * 128 * 2 * 2
    assert kv_cache(scope, "tensor", 8) == kv_cache(scope, "single", 1) // 8
    assert kv_cache(scope, "zero3", 3) == kv_cache(scope, "single", 1) * 34 // 100


def test_working_memory_holds_the_cache_and_shrinks_with_ranks_and_batch() -> None:
    scope = scope_of(**BF16)
    alone = device_working(scope, "play", "single", 1, has_gpu=True)
    assert alone > kv_cache(scope, "single", 1)
    assert device_working(scope, "play", "tensor", 8, has_gpu=True) < alone / 4
    assert device_working(scope, "play", "zero3", 8, has_gpu=True) < alone / 4
    smaller = scope_of(model={"dtype": "bfloat16", "batch_size": 10})
    assert device_working(smaller, "play", "single", 1, has_gpu=True) < alone / 5


def reading(scope: Scope, kind: Any, ranks: int) -> float:
    """What the untrained model's passes need of a GPU beside what CUDA takes."""
    return device_working(scope, "read", kind, ranks, has_gpu=True) - RESERVED


def test_texts_are_dealt_out_to_readers_and_a_smaller_batch_reads_fewer() -> None:
    scope, smaller = scope_of(**BF16), scope_of(model={"dtype": "bfloat16", "batch_size": 8})
    rows = [[work.rows for work, _ in found] for found in (scope.harvest(1), scope.harvest(8), smaller.harvest(8))]
    assert [max(each) for each in rows] == [16, 100, 8]
    alone = reading(scope, "single", 1)
    assert reading(scope, "zero3", 8) == pytest.approx(alone * 13 / 16, rel=0.1)
    assert reading(smaller, "zero3", 8) == pytest.approx(alone / 16, rel=0.1)
    assert reading(smaller, "single", 1) == pytest.approx(alone / 2, rel=0.1)


def test_captures_leave_a_gpu_while_texts_are_read() -> None:
    """Of 80 blocks of 16 texts of 60 decisions the ring's 268 MB are held, and a block that is being computed."""
    one, whole = scope_of("70B", **BF16, capture={"blocks": [80]}), scope_of("70B", **BF16)
    block = 16 * TEXTS.n_decisions * 8192 * 2
    assert reading(whole, "single", 1) - reading(one, "single", 1) == 4 * (64 << 20) + block < 79 * block / 4


class Held(TorchDispatchMode):
    """Bytes of the tensors that operations make, as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.bytes[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.bytes.pop, storage._cdata, None)
        self.most = max(self.most, sum(self.bytes.values()))
        return made


@pytest.mark.parametrize("job", ["play", "read"])
def test_a_forward_pass_holds_no_more_than_estimated(job: Any) -> None:
    engine = tiny_engine("llama")
    texts = Texts(np.full((2, 20), 15), measured=True)
    plan = study(sae=[], correlate={"controls": ["untrained"]}, task={"rollouts": 16}, capture={"blocks": [3]})
    scope = Scope(plan, ModelShape.of(engine.model.config), texts)
    estimated = device_working(scope, job, "single", 1, has_gpu=False)
    with Held() as held:
        if job == "read":
            tokens = TokenBatch(torch.ones(16, 300, dtype=torch.int64), torch.ones(16, 300, dtype=torch.bool))
            positions = torch.arange(14, 300, 15).expand(16, -1)
            engine.forward(tokens, positions=positions, capture=[3], logits=False)
        else:
            tokens = TokenBatch(torch.ones(16, 15, dtype=torch.int64), torch.ones(16, 15, dtype=torch.bool))
            cache = engine.new_cache()
            for _ in range(20):
                engine.forward(tokens, positions=torch.full((16, 1), 14), capture=[3], cache=cache)
    assert held.most < estimated < 3 * held.most


def test_training_memory_of_an_autoencoder() -> None:
    """Weights, gradients and two moments of 8,192 by 16,384 twice, and a batch of 256."""
    scope = scope_of("70B", **BF16)
    weights = 2 * 8192 * 16384 * 4
    assert 4 * weights < training_device(scope) < 4.1 * weights


@pytest.mark.parametrize(
    ("engine", "batch_size", "ranks", "gpus", "expected"),
    [
        ("deepspeed", 256, None, 8, 1),
        ("deepspeed", 1024, None, 8, 4),
        ("deepspeed", 1024, None, 2, 2),
        ("deepspeed", 1024, None, 0, 1),
        ("hf", 1024, None, 8, 1),
        ("deepspeed", 256, 2, 8, 2),
    ],
)
def test_ranks_that_train(engine: str, batch_size: int, ranks: int | None, gpus: int, expected: int) -> None:
    sae = {"name": "paper", "options": {"l1": 1e-5}, "batch_size": batch_size, "ranks": ranks}
    assert training_ranks(scope_of(model={"engine": engine}, sae=[sae]), gpus) == [expected]


def test_seconds_of_training_grow_with_the_work_and_the_bus() -> None:
    machine = with_gpu("h100")
    alone = training_seconds(machine, 10**8, flops=1e13, ranks=1)
    assert alone == {"compute": pytest.approx(1e13 / (67e12 / 2))}
    shared = training_seconds(machine, 10**8, flops=1e13, ranks=4)
    assert shared["compute"] == pytest.approx(alone["compute"] / 4)
    assert shared["bus between GPUs"] == pytest.approx(4e8 * 1.5 / 380e9)


def test_a_slow_disk_is_what_play_waits_for() -> None:
    machine = dataclasses.replace(with_gpu("h100"), disk=1e6)
    found = estimate(scope_of(**BF16), node(1), machine, Space())
    play = found.stages[0]
    assert play.seconds == {DISK: found.disk.shards / 1e6}
    assert found.binding == DISK


def test_memory_that_is_nearly_full_is_what_binds() -> None:
    roomy = planned(scope_of(**BF16))
    (gpu, *_) = roomy.rooms
    tight = dataclasses.replace(node(1), gpu_memory=round(gpu.needed / 0.95))
    assert estimate(scope_of(**BF16), tight, with_gpu("h100"), Space()).binding == "GPU memory"
    assert roomy.binding != "GPU memory"


def test_an_untrained_model_lies_beside_the_one_that_plays() -> None:
    alone = planned(scope_of(**BF16))
    both = planned(scope_of(**BF16, correlate={"controls": ["untrained"]}))
    assert both.rooms[0].when == "harvest"
    assert both.rooms[0].needed > alone.rooms[0].needed + 2e9
    assert [stage.name for stage in both.stages][:2] == ["play", "harvest"]
    assert both.disk.control_shards == both.disk.shards


def test_processes_without_gpus_share_main_memory_and_processor() -> None:
    asked = {"dtype": "bfloat16", "engine": "deepspeed", "parallel": {"ranks": 2, "layout": "zero3"}}
    one = estimate(scope_of(**BF16), node(0), without_gpu(), Space())
    two = estimate(scope_of(model=asked), node(0), without_gpu(), Space())
    assert one.stages[0].hours <= two.stages[0].hours < 1.5 * one.stages[0].hours
    assert two.rooms[0].needed > one.rooms[0].needed


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str, list[str]]] = [
    ({}, {"disk": 11}, "disk space: the whole study needs", ["--set capture.dtype=bfloat16", "blocks with at most"]),
    ({}, {"host": 5}, "main memory: ", ["blocks with at most", "task.rollouts="]),
    ({"model": {"batch_size": 400}, "task": {"rollouts": 400}}, {}, "GPU memory: play needs", ["model.batch_size="]),
]


@pytest.mark.parametrize(("sections", "limits", "message", "remedies"), REFUSED)
def test_what_does_not_fit_and_what_would(
    sections: dict[str, Any], limits: dict[str, Any], message: str, remedies: list[str]
) -> None:
    scope = scope_of(**sections)
    where, disk = node(1, limits.get("host")), space(limits.get("disk"))
    found = estimate(scope, where, with_gpu("h100"), disk)
    assert message in (refusal(found) or "")
    assert not found.fits
    named = "; ".join(what_would_fit(scope, where, with_gpu("h100"), disk))
    assert all(remedy in named for remedy in remedies), named


def test_what_would_fit_is_the_most_that_does() -> None:
    scope, disk = scope_of(), space(10)
    named = what_would_fit(scope, node(1), with_gpu("h100"), disk)
    (text,) = [line for line in named if line.startswith("capture.blocks")]
    n = int(text.split("at most ")[1].split()[0])

    def fits(blocks: int) -> bool:
        fewer = scope_of(capture={"blocks": list(range(1, blocks + 1))})
        return estimate(fewer, node(1), with_gpu("h100"), disk).fits

    assert fits(n)
    assert not fits(n + 1)


def test_more_gpus_are_a_remedy_where_they_are() -> None:
    scope = scope_of("70B", model={"dtype": "bfloat16", "engine": "deepspeed"})
    small = node(2, host=100)
    with pytest.raises(UserError, match="doesn't fit on 2 of 2 GPUs"):
        estimate(scope, small, with_gpu("h100"), Space())
    named = what_would_fit(scope, small, with_gpu("h100"), Space())
    assert named == ["4 such GPUs (with --engine deepspeed)"]


def test_texts_longer_than_the_context_are_refused() -> None:
    texts = Texts(np.full((2, 60), 200), measured=True)
    with pytest.raises(UserError, match=r"12,000 tokens, more than the model's context of 8,192"):
        estimate(Scope(study(), shape_of("8B"), texts), node(1), with_gpu("h100"), Space())


def test_blocks_that_are_not_there_are_refused() -> None:
    with pytest.raises(UserError, match="no block 33"):
        planned(scope_of(capture={"blocks": [1, 33]}))


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA RTX A6000", "a6000"),
        ("NVIDIA L40S", "l40s"),
        ("A10", "a10"),
        ("b200", "b200"),
    ],
)
def test_gpus_by_the_names_of_their_drivers(name: str, known: str) -> None:
    assert known_gpu(name) is GPUS[known]


def test_an_unknown_gpu_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError) as refused:
        known_gpu("Voodoo 2")
    assert "h100" in refused.value.remedy


def test_a_node_that_is_described() -> None:
    where, device = node_of(PROCESSOR, gpus=4, gpu="a100", gpu_memory=40e9)
    assert (where.n_gpus, where.gpu_memory, where.host_memory) == (4, 40_000_000_000, None)
    assert device is GPUS["a100"]
    assert node_of(PROCESSOR, gpu="h200")[0].n_gpus >= 1


def test_this_node_without_its_gpus() -> None:
    where, device = node_of(PROCESSOR, gpus=0)
    assert (where.n_gpus, where.gpu_memory) == (0, 0)
    assert where.host_memory is not None
    assert device is PROCESSOR


def test_the_processor_is_measured_and_scaled() -> None:
    here = measured_cpu()
    assert here.flops32 > 1e8
    assert here.bandwidth > 1e8
    assert measured_cpu(cores=1000 * torch.get_num_threads()).flops32 > 50 * here.flops32
