"""A processor with round numbers, and nodes with it: nothing is measured in tests of arithmetic."""

from __future__ import annotations

from jobs.planning.devices import GPUS, Device
from jobs.planning.speed import Machine

PROCESSOR = Device("a processor", 0, flops16=1e12, flops32=1e12, bandwidth=100e9, bus=25e9, link=100e9, flops64=0.5e12)


def with_gpu(name: str) -> Machine:
    """A node with GPUs from the table, at half their peak."""
    return Machine(GPUS[name], has_gpu=True, cpu=PROCESSOR, mfu=0.5, nvme=7e9, disk=1e9)


def without_gpu() -> Machine:
    """A node that computes with the processor."""
    return Machine(PROCESSOR, has_gpu=False, cpu=PROCESSOR, mfu=0.5, nvme=7e9, disk=1e9)
