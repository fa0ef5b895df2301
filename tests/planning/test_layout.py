"""Which layout is chosen for a model, a node and a job, and what is refused."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig

from jobs.inference import layout as layouts
from jobs.inference.layout import Kind, Layout, Node, choose, readable
from jobs.inference.shapes import ModelShape, shipped_config
from tdlens.errors import UserError
from tests.inference.tiny import CONFIGS


@cache
def shape_of(name: str) -> ModelShape:
    config = CONFIGS[name]() if name in CONFIGS else shipped_config(f"meta-llama/Meta-Llama-3-{name}")
    return ModelShape.of(config)


def node(gpus: int, gigabytes: float = 80, host: float | None = 2000) -> Node:
    memory = None if host is None else round(host * 1e9)
    return Node(gpus, round(gigabytes * 1e9) if gpus else 0, memory, "h100" if gpus else "")


def chosen(model: str, where: Node, job: Any, dtype_bytes: int = 2, **asked: Any) -> tuple[str, int, str]:
    found = choose(shape_of(model), dtype_bytes, where, job, **asked)
    return found.kind, found.ranks, found.offload


@pytest.mark.parametrize(
    ("model", "gpus", "job", "expected"),
    [
        ("70B", 8, "play", ("tensor", 8, "none")),
        ("70B", 8, "read", ("zero3", 8, "none")),
        ("70B", 4, "play", ("tensor", 4, "none")),
        ("70B", 2, "play", ("zero3", 2, "cpu")),
        ("70B", 1, "play", ("zero3", 1, "cpu")),
        ("8B", 1, "play", ("single", 1, "none")),
        ("8B", 1, "read", ("single", 1, "none")),
        ("8B", 3, "play", ("tensor", 2, "none")),  # eight heads of keys don't divide by three
        ("8B", 8, "read", ("zero3", 8, "none")),
        ("gpt2", 2, "play", ("single", 1, "none")),  # can't be split, and fits
        ("gpt2", 2, "read", ("zero3", 2, "none")),
        ("gpt_neox", 2, "play", ("hf_tensor", 2, "none")),
        ("llama", 0, "play", ("single", 1, "none")),
    ],
)
def test_what_is_chosen(model: str, gpus: int, job: str, expected: tuple[str, int, str]) -> None:
    assert chosen(model, node(gpus), job) == expected


@pytest.mark.parametrize(
    ("model", "job", "kind"),
    [
        *[("llama", "play", "tensor"), ("qwen2", "play", "tensor"), ("qwen3", "play", "tensor")],
        *[("gpt2", "play", "zero3"), ("gpt_neox", "play", "hf_tensor"), ("llama", "read", "zero3")],
    ],
)
def test_two_processes_without_gpus(model: str, job: str, kind: str) -> None:
    assert chosen(model, node(0), job, ranks=2) == (kind, 2, "none")


def test_nvme_where_main_memory_is_too_small() -> None:
    assert chosen("70B", node(1, host=100), "read", nvme=Path("/fast")) == ("zero3", 1, "nvme")


def test_main_memory_that_is_not_known_is_not_looked_at() -> None:
    assert chosen("70B", node(1, host=None), "read") == ("zero3", 1, "cpu")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"kind": "zero3"}, ("zero3", 8, "none")),
        ({"kind": "zero3", "ranks": 4}, ("zero3", 4, "none")),
        ({"kind": "hf_tensor"}, ("hf_tensor", 8, "none")),
        ({"offload": "cpu"}, ("zero3", 8, "cpu")),
        ({"ranks": 4}, ("tensor", 4, "none")),
        ({"ranks": 1}, ("zero3", 1, "cpu")),
        ({"ranks": 5}, ("tensor", 5, "none")),  # unevenly
    ],
)
def test_what_is_asked_for_is_kept_to(asked: dict[str, Any], expected: tuple[str, int, str]) -> None:
    assert chosen("70B", node(8), "play", **asked) == expected


REFUSED: list[tuple[str, Node, dict[str, Any], str]] = [
    ("gpt2", node(2), {"kind": "tensor"}, "AutoTP doesn't split GPT2LMHeadModel"),
    ("gpt2", node(2), {"kind": "hf_tensor"}, "no tensor parallel plan for GPT2LMHeadModel"),
    ("llama", node(4), {"kind": "hf_tensor", "ranks": 4}, "can't split 4 heads, 2 of keys and values"),
    ("llama", node(1), {"ranks": 2}, "2 ranks were asked for, and this node has 1 GPU"),
    ("llama", node(0), {"ranks": 0}, "can't run on 0 ranks"),
    ("llama", node(2), {"kind": "single", "ranks": 2}, "Layout single is one process, not 2"),
    ("llama", node(2), {"kind": "tensor", "offload": "cpu"}, "nothing to offload"),
    ("llama", node(2), {"offload": "nvme"}, "need a folder"),
    ("70B", node(2), {"kind": "tensor"}, "141.1 GB of weights doesn't fit on 2 of 2 GPUs"),
    ("70B", node(1, host=100), {}, "141.1 GB of weights doesn't fit on 1 of 1 GPUs"),
    ("70B", node(0, host=100), {}, "141.1 GB of weights doesn't fit in 100.0 GB of main memory"),
]


@pytest.mark.parametrize(("model", "where", "asked", "message"), REFUSED)
def test_what_is_refused(model: str, where: Node, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        choose(shape_of(model), 2, where, "play", **asked)
    assert message in refused.value.message
    assert refused.value.remedy


def test_a_refusal_names_what_would_fit() -> None:
    with pytest.raises(UserError) as refused:
        choose(shape_of("70B"), 4, node(4, host=100), "read")
    assert "bfloat16 (141.1 GB of weights)" in refused.value.remedy
    assert "5 such GPUs with ZeRO-3" in refused.value.remedy
    assert chosen("70B", node(4, host=100), "read", dtype_bytes=2) == ("zero3", 4, "none")
    assert chosen("70B", node(5, host=100), "read", dtype_bytes=4) == ("zero3", 5, "none")


def test_the_reason_says_where_the_weights_are() -> None:
    reason = choose(shape_of("70B"), 2, node(8), "play").reason
    assert "8 GPUs of 80.0 GB: 141.1 GB of weights, 19.5 GB on each" in reason
    assert "\n" not in reason


def test_reasons_tell_the_layouts_apart() -> None:
    kinds: tuple[Kind, ...] = ("tensor", "hf_tensor", "zero3")
    names = [choose(shape_of("70B"), 2, node(8), "play", kind=kind).reason.split(" on 8 GPUs")[0] for kind in kinds]
    assert names == ["tensor parallel", "tensor parallel (Hugging Face)", "ZeRO-3"]


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_weights_of_all_ranks_hold_the_model(ranks: int) -> None:
    """At least once, and beyond that no more than the parts that every rank keeps whole."""
    shape = shape_of("8B")
    held = ranks * choose(shape, 2, node(0), "play", ranks=ranks, kind="tensor").device_bytes
    whole = shape.parameters - sum(shape.block_weights) - shape.head
    assert 2 * shape.parameters <= held <= 2 * (shape.parameters + (ranks - 1) * whole) + 2 * ranks


def test_heads_that_nobody_can_divide_are_not_split_unasked() -> None:
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, num_attention_heads=4, num_key_value_heads=1, intermediate_size=64
    )
    found: Layout = choose(ModelShape.of(config), 2, node(4), "play")
    assert (found.kind, found.ranks) == ("single", 1)


def test_this_machine_within_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Node.here()
    assert here.host_memory is not None
    assert here.host_memory > 1e8
    monkeypatch.setattr(layouts, "_memory_limits", lambda: iter([2**63, 10**8]))
    assert Node.here().host_memory == 10**8


def test_limits_of_both_versions_of_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        Path("/proc/self/cgroup"): ["5:cpu:/job", "4:memory:/job/step", "0::/user"],
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"): ["9223372036854771712"],
        Path("/sys/fs/cgroup/memory/job/step/memory.limit_in_bytes"): ["64000000000"],
        Path("/sys/fs/cgroup/user/memory.max"): ["max"],
        Path("/sys/fs/cgroup/memory.max"): ["32000000000"],
    }
    monkeypatch.setattr(layouts, "_lines", lambda file: files.get(file, []))
    assert sorted(layouts._memory_limits()) == [32000000000, 64000000000, 9223372036854771712]


@pytest.mark.parametrize(
    ("n", "text"), [(12, "12 bytes"), (1_310_720, "1.3 MB"), (141_107_412_992, "141.1 GB"), (1.31e12, "1.3 TB")]
)
def test_bytes_for_people(n: float, text: str) -> None:
    assert readable(n) == text
