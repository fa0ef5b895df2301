"""How a model is spread over processes: settings that change speed and rounding, and not what is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Launcher = Literal["deepspeed", "torchrun"]


@dataclass(frozen=True)
class Parallel:
    """What is asked for; what isn't follows from the model, the machine and the job."""

    ranks: int | None = None
    """Processes, one a GPU; None: all GPUs, or one process where there are none."""
    layout: Literal["auto", "single", "zero3", "tensor", "hf_tensor"] = "auto"
    """How the weights are shared out, see :class:`~jobs.inference.layout.Layout`."""
    offload: Literal["auto", "none", "cpu", "nvme"] = "auto"
    """Where ZeRO-3 keeps weights that aren't needed at the moment."""
    nvme: str | None = None
    """A folder on a fast local disk for weights that fit neither GPUs nor main memory."""
    launcher: Launcher = "deepspeed"
    """What starts the processes."""
    timeout: float = 30.0
    """Minutes after which ranks that give no answer are given up."""
