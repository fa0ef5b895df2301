"""How long a forward pass takes on a layout, and what it waits for: an upper bound on speed, as waits overlap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jobs.inference.layout import Layout
from jobs.inference.shapes import ModelShape
from jobs.planning.devices import Device
from jobs.planning.work import Flops, Pass, Passes

COMPUTE, MEMORY, BUS, LINK = "compute", "memory bandwidth", "bus between GPUs", "PCIe from main memory"
NVME, DISK, PROCESSOR, START = "reading from NVMe", "writing to disk", "processor", "starting kernels"

Seconds = dict[str, float]
"""Seconds spent, by what they are spent on."""


@dataclass(frozen=True)
class Machine:
    """What computes, and at what share of its peak."""

    device: Device
    """Each GPU, or the processor."""
    has_gpu: bool
    cpu: Device
    """The processor: it does the statistics."""
    mfu: float
    """Share of the peak that matrix products reach on average."""
    nvme: float
    """Bytes a second that the disk with offloaded weights gives."""
    disk: float
    """Bytes a second that the disk takes."""
    start: float = 5e-4
    """Seconds in which Python starts a block's kernels, about 25 of them: what a small pass can't go below."""

    def flops(self, dtype: str, ranks: int) -> float:
        """Floating-point operations a second of so many ranks together; processes on one processor share it."""
        return self.device.flops(dtype) * self.mfu * (ranks if self.has_gpu else 1)

    def ring(self, ranks: int, n_bytes: float) -> float:
        """Seconds of an all-reduce of so many bytes."""
        return n_bytes * 2 * (ranks - 1) / ranks / self.device.bus


def pass_seconds(machine: Machine, shape: ModelShape, dtype: str, layout: Layout, work: Pass) -> Seconds:
    """Seconds of one forward pass by what holds it up.

    Every rank multiplies its share and reads its weights meanwhile. Tensor parallelism adds two all-reduces a block,
    which nothing hides; ZeRO-3 gathers the weights of later blocks while it computes.
    """
    dtype_bytes, ranks = dtype_size(dtype), layout.ranks
    weights = shape.parameters * dtype_bytes
    flops = Flops.of_pass(shape, work).total
    looked_up = shape.embedding * dtype_bytes if not shape.tied else 0
    own = layout.device_bytes if layout.kind in ("tensor", "hf_tensor") else weights
    waits = {
        COMPUTE: flops / machine.flops(dtype, ranks),
        MEMORY: (own - looked_up) / machine.device.bandwidth,
        START: len(shape.block_weights[: work.last]) * machine.start,
    }
    if layout.kind == "zero3":
        if ranks > 1:
            waits[BUS] = weights * (ranks - 1) / ranks / machine.device.bus
        if layout.offload == "cpu":
            waits[LINK] = weights / ranks / machine.device.link
        if layout.offload == "nvme":
            waits[NVME] = weights / machine.nvme
    longest = max(waits, key=lambda name: waits[name])
    found = {longest: waits[longest]}
    if layout.kind in ("tensor", "hf_tensor") and ranks > 1:
        reduced = 2 * shape.n_blocks * machine.ring(ranks, work.tokens * shape.d_model * dtype_bytes)
        found[BUS] = found.get(BUS, 0.0) + reduced
    return found


def passes_seconds(machine: Machine, shape: ModelShape, dtype: str, layout: Layout, passes: Passes) -> Seconds:
    """Seconds of many forward passes."""
    return added(times(pass_seconds(machine, shape, dtype, layout, work), count) for work, count in passes)


def training_seconds(machine: Machine, parameters: int, flops: float, ranks: int) -> Seconds:
    """Seconds of one step of Adam in float32 on ``ranks``, each with its part of the batch."""
    # weights are read forward and backward, gradients written; Adam reads four numbers and writes three
    waits = {COMPUTE: flops / machine.flops("float32", ranks), MEMORY: 40 * parameters / machine.device.bandwidth}
    longest = max(waits, key=lambda name: waits[name])
    found = {longest: waits[longest]}
    if ranks > 1:
        found[BUS] = machine.ring(ranks, 4 * parameters)
    return found


def statistics_seconds(machine: Machine, n_bytes: float, flops32: float = 0, flops64: float = 0) -> Seconds:
    """Seconds of what the processor does: memory read and written, and products in float32 and float64."""
    cpu = machine.cpu
    return {PROCESSOR: n_bytes / cpu.bandwidth + flops32 / cpu.flops32 + flops64 / cpu.flops64}


def times(seconds: Seconds, count: float) -> Seconds:
    """So many times over."""
    return {name: value * count for name, value in seconds.items()}


def added(parts: Iterable[Seconds]) -> Seconds:
    """One after the other."""
    total: Seconds = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + value
    return total


def dtype_size(dtype: str) -> int:
    """Bytes of a number in a floating-point type by its name."""
    return 4 if dtype == "float32" else 2
