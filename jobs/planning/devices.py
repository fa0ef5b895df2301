"""Devices that compute: known GPUs as data, and this machine's processor as measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from tdlens.errors import UserError


@dataclass(frozen=True)
class Device:
    """How fast one device is, in bytes, bytes a second and floating-point operations a second."""

    name: str
    memory: float
    """Bytes."""
    flops16: float
    """Peak of dense matrix products in bfloat16 (float16 has the same)."""
    flops32: float
    """Peak in float32 as PyTorch computes it by default: without tensor cores."""
    bandwidth: float
    """Of its memory."""
    bus: float
    """Bus bandwidth of collectives between the GPUs of a node, as nccl-tests reach it: about 80 % of NVLink's one
    direction, or of PCIe's."""
    link: float
    """From main memory, over PCIe, as pinned copies reach it."""
    flops64: float = 0.0
    """Peak in float64; of processors only, which do the statistics."""

    def flops(self, dtype: str) -> float:
        """Peak in a dtype by its name."""
        return self.flops32 if dtype == "float32" else self.flops16


def _gpu(name: str, memory: float, tera16: float, tera32: float, bandwidth: float, bus: float, link: float) -> Device:
    return Device(name, memory * 1e9, tera16 * 1e12, tera32 * 1e12, bandwidth * 1e9, bus * 1e9, link * 1e9)


GPUS: dict[str, Device] = {
    gpu.name: gpu
    for gpu in (  # data sheets of the manufacturer; the last two columns as usually measured
        _gpu("b200", 180, 2250, 75, 8000, 720, 50),
        _gpu("h200", 141, 989, 67, 4800, 380, 50),
        _gpu("h100", 80, 989, 67, 3350, 380, 50),
        _gpu("h100-pcie", 80, 756, 51, 2000, 40, 50),
        _gpu("a100", 80, 312, 19.5, 2039, 240, 24),
        _gpu("a100-40gb", 40, 312, 19.5, 1555, 240, 24),
        _gpu("l40s", 48, 362, 91.6, 864, 20, 24),
        _gpu("a6000", 48, 155, 38.7, 768, 20, 24),
        _gpu("rtx4090", 24, 165, 82.6, 1008, 20, 24),
        _gpu("a10", 24, 125, 31.2, 600, 20, 24),
    )
}
"""Known GPUs by their short name."""


def known_gpu(name: str) -> Device:
    """A GPU by its short name, or by the name that its driver gives.

    Raises:
        UserError: not among ``GPUS``.
    """
    plain = name.lower().replace(" ", "-").replace("nvidia-", "").replace("geforce-", "").replace("rtx-", "rtx")
    if plain in GPUS:
        return GPUS[plain]
    # "NVIDIA A100-SXM4-40GB" holds every part of "a100-40gb"; the entry with most parts is the closest
    fitting = [gpu for gpu in GPUS.values() if all(part in plain for part in gpu.name.split("-"))]
    if not fitting:
        raise UserError(
            f"The speed of a GPU called {name!r} isn't known.", f"Choose one with --gpu: {', '.join(GPUS)}."
        )
    return max(fitting, key=lambda gpu: len(gpu.name))


@cache
def measured_cpu(cores: int | None = None) -> Device:
    """This machine's processor with the threads that PyTorch uses now, measured in less than a second.

    Args:
        cores: scale it to so many of the same cores; None for those that it has.
    """
    import torch

    def rate(dtype: torch.dtype, n: int) -> float:
        a = torch.ones(n, n, dtype=dtype)
        return scale * 2 * n**3 / _fastest(lambda: a @ a)

    threads = torch.get_num_threads()
    scale = 1 if cores is None else cores / threads
    source = torch.ones(2**24)
    target = torch.empty_like(source)
    bandwidth = scale * 2 * source.nbytes / _fastest(lambda: target.copy_(source))
    return Device(
        name=f"measured on {threads} cores" + (f", scaled to {cores}" if cores else ""),
        memory=0,
        flops16=rate(torch.bfloat16, 512),
        flops32=rate(torch.float32, 1024),
        bandwidth=bandwidth,
        bus=bandwidth / 4,  # through shared memory: written, read, added, written again
        link=bandwidth,
        flops64=rate(torch.float64, 1024),
    )


def _fastest(work: Callable[[], object]) -> float:
    work()  # threads and buffers are made in the first round
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
