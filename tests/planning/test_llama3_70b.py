"""Llama 3 70B on eight GPUs of 80 GB: the arithmetic of a plan against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from jobs.inference.layout import Layout, Node, choose
from jobs.inference.shapes import ModelShape, shipped_config
from jobs.planning.estimate import Estimate, estimate
from jobs.planning.nodes import Space
from jobs.planning.scope import Scope
from jobs.planning.speed import BUS, COMPUTE, LINK, MEMORY, NVME, START, pass_seconds
from jobs.planning.texts import Texts
from jobs.planning.work import Flops, Pass
from jobs.study import load
from tests.planning.machines import with_gpu

NODE = Node(8, round(80e9), round(2000e9), "h100")
PROMPT = 1024
STUDY = Path(__file__).parents[2] / "studies/two_step_llama3_70b.toml"


@cache
def shape() -> ModelShape:
    config = shipped_config("meta-llama/Meta-Llama-3-70B")
    assert config is not None
    return ModelShape.of(config)


def prompts(n_tokens: int) -> Pass:
    return Pass(n_tokens // PROMPT, PROMPT, 0, captured=1, predicted=0)


def tokens_a_second(gpu: str, layout: Layout, n_tokens: int) -> float:
    return n_tokens / sum(pass_seconds(with_gpu(gpu), shape(), "bfloat16", layout, prompts(n_tokens)).values())


def read(gpus: int, **asked: object) -> Layout:
    return choose(shape(), 2, replace(NODE, n_gpus=gpus), "read", **asked)  # type: ignore[arg-type]


def play(gpus: int) -> Layout:
    return choose(shape(), 2, replace(NODE, n_gpus=gpus), "play", kind="tensor")


def test_parameters() -> None:
    assert shape().parameters == 70_553_706_496


def test_parameters_of_a_block() -> None:
    assert max(shape().block_parameters) == pytest.approx(855.7e6, rel=1e-4)


def test_weights() -> None:
    assert 2 * shape().parameters == pytest.approx(141.1e9, rel=1e-3)


def test_embedding_and_head() -> None:
    assert 2 * (shape().embedding + shape().head) == pytest.approx(4.2e9, rel=1e-2)


def test_keys_and_values_of_a_token() -> None:
    assert shape().kv_bytes(2) == pytest.approx(0.33e6, rel=1e-2)


def test_arithmetic_of_a_token() -> None:
    mean_pairs = sum(range(1, PROMPT + 1)) / PROMPT
    flops = Flops.of(shape(), tokens=1, pairs=mean_pairs, predicted=1)
    assert flops.blocks == pytest.approx(137e9, rel=2e-3)
    assert flops.head == pytest.approx(2.1e9, rel=2e-3)
    assert flops.attention == pytest.approx(1.3e9, rel=4e-2)


def test_a_model_left_early_costs_less() -> None:
    assert Flops.of(shape(), 1, 512, 0, last=20).blocks == pytest.approx(137e9 / 4, rel=2e-3)


@pytest.mark.parametrize(("ranks", "gigabytes"), [(2, 71.6), (4, 36.9), (8, 19.5)])
def test_weights_on_each_gpu_of_tensor_parallelism(ranks: int, gigabytes: float) -> None:
    assert shape().bytes_a_rank(ranks, 2) == pytest.approx(gigabytes * 1e9, rel=2e-3)
    assert shape().splits_evenly(ranks)
    assert shape().hf_splits(ranks)


def test_weights_on_each_gpu_of_zero3() -> None:
    live = 3 * 2 * max(shape().block_parameters)
    assert read(8).device_bytes - live == pytest.approx(17.6e9, rel=3e-3)


def test_two_gpus_do_not_hold_it() -> None:
    with pytest.raises(Exception, match="doesn't fit on 2 of 2 GPUs"):
        play(2)


@pytest.mark.parametrize(("gpu", "speed"), [("a100", 9.1e3), ("h100", 28.9e3)])
def test_speed_of_reading_with_zero3(gpu: str, speed: float) -> None:
    """By hand without attention, which is one hundredth."""
    assert tokens_a_second(gpu, read(8), 8 * 16 * PROMPT) == pytest.approx(speed, rel=2e-2)


@pytest.mark.parametrize(("gpu", "speed"), [("a100", 7.8e3), ("h100", 21e3)])
def test_speed_of_reading_with_tensor_parallelism(gpu: str, speed: float) -> None:
    assert tokens_a_second(gpu, play(8), 16 * PROMPT) == pytest.approx(speed, rel=2e-2)


@pytest.mark.parametrize(("gpu", "speed"), [("a100", 8.5e3), ("h100", 25e3)])
def test_two_replicas_of_four_are_faster_together(gpu: str, speed: float) -> None:
    assert 2 * tokens_a_second(gpu, play(4), 16 * PROMPT) == pytest.approx(speed, rel=2e-2)


@pytest.mark.parametrize(("gpu", "passes"), [("a100", 116), ("h100", 190)])
def test_a_token_at_a_time_waits_for_memory(gpu: str, passes: float) -> None:
    """Were it not for Python, which starts the kernels of 80 blocks in 40 ms."""
    token = Pass(1, 1, PROMPT, 1, 1)
    at_once = replace(with_gpu(gpu), start=0)
    seconds = pass_seconds(at_once, shape(), "bfloat16", play(8), token)
    assert 1 / seconds[MEMORY] == pytest.approx(passes, rel=3e-2)
    assert seconds[BUS] < seconds[MEMORY] / 100
    assert pass_seconds(with_gpu(gpu), shape(), "bfloat16", play(8), token)[START] == pytest.approx(0.04)


@pytest.mark.parametrize(("gpu", "seconds"), [("a100", 5.9), ("h100", 2.8)])
def test_weights_stream_from_main_memory(gpu: str, seconds: float) -> None:
    layout = read(1)
    assert (layout.kind, layout.offload) == ("zero3", "cpu")
    waited = pass_seconds(with_gpu(gpu), shape(), "bfloat16", layout, prompts(PROMPT))
    assert waited == {LINK: pytest.approx(seconds, rel=1e-2)}


def test_large_batches_hide_the_stream() -> None:
    """One A100 with offload and 16k tokens a batch: 1,140 tokens a second at best."""
    waited = pass_seconds(with_gpu("a100"), shape(), "bfloat16", read(1), prompts(16 * PROMPT))
    assert list(waited) == [COMPUTE]
    assert 16 * PROMPT / waited[COMPUTE] == pytest.approx(1140, rel=2e-2)


def test_weights_stream_from_nvme() -> None:
    layout = read(1, offload="nvme", nvme=Path("/fast"))
    waited = pass_seconds(with_gpu("h100"), shape(), "bfloat16", layout, prompts(16 * PROMPT))
    assert waited == {NVME: pytest.approx(20.2, rel=1e-2)}
    assert tokens_a_second("h100", layout, 16 * PROMPT) == pytest.approx(813, rel=1e-2)


@cache
def planned() -> Estimate:
    study = load(STUDY, ["model.engine=deepspeed", "capture.dtype=bfloat16"])
    texts = Texts(np.full((2, 60), 17), measured=True)  # 1,020 tokens
    return estimate(Scope(study, shape(), texts), NODE, with_gpu("h100"), Space())


def test_residual_stream_of_a_token() -> None:
    assert planned().residual_bytes == 1_310_720


def test_residual_stream_of_a_prompt() -> None:
    """Of every one of 1,000 tokens: 1.31 GB, and so of a million 1.31 TB."""
    assert planned().residual_bytes * 1000 == pytest.approx(1.31e9, rel=1e-2)


def test_shards_of_the_study() -> None:
    assert planned().disk.shards == pytest.approx(3 * 100 * 60 * 1_310_720, rel=1e-3)


def test_autoencoders_of_the_study() -> None:
    """Two matrices of 8,192 by 16,384 in float32, for each of 80 blocks."""
    assert planned().disk.autoencoders == pytest.approx(80 * 2 * 8192 * 16384 * 4, rel=1e-3)


def test_its_layout() -> None:
    assert (planned().play.kind, planned().play.ranks, planned().read) == ("tensor", 8, None)


def test_memory_of_a_gpu() -> None:
    """Weights, cache of 25 rollouts, reserve, one edit's autoencoder, and the activations of 16 texts being read."""
    room = planned().rooms[0]
    weights, cache, reserve, sae = 19.48e9, 25 * 1020 * 327_680 / 8, 1.5e9, 1.07e9
    texts = 16 * 1020
    stream, head = texts * 8192 * (4 * 2 + 8), 16 * 60 * 128_256 * 6
    expanded, mask = 2 * texts * 8192 * 2 / 8, 16 * 1020**2 * 2
    heads = texts * (2 * 64 + 2 * 8) * 128 * 2 / 8
    assert room.name == "GPU memory"
    assert room.needed == pytest.approx(weights + reserve + sae + stream + head + expanded + mask + heads, rel=1e-2)
    assert room.needed > weights + cache + reserve + sae


def test_the_plan_takes_every_stage_into_account() -> None:
    assert [stage.name for stage in planned().stages] == ["play", "train_sae", "correlate", "intervene"]
    assert planned().hours == sum(stage.hours for stage in planned().stages)
    assert planned().fits
