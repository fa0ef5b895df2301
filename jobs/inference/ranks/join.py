"""Making ranks one process group, with the traps on the way closed."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Rank:
    """One of the processes, as it sees itself."""

    index: int
    world: int
    device: torch.device


def prepare(environment: MutableMapping[str, str]) -> None:
    """Complete what the launchers leave out, before DeepSpeed is imported.

    torchrun says LOCAL_WORLD_SIZE where DeepSpeed's launcher says LOCAL_SIZE, and DeepSpeed's shared-memory all-reduce
    writes into buffers that it never allocated where the latter is missing.
    """
    if "LOCAL_WORLD_SIZE" in environment:
        environment.setdefault("LOCAL_SIZE", environment["LOCAL_WORLD_SIZE"])
    if "LOCAL_SIZE" in environment:
        environment.setdefault("LOCAL_WORLD_SIZE", environment["LOCAL_SIZE"])
    if not torch.cuda.is_available():
        environment.setdefault("DS_ACCELERATOR", "cpu")
    # DeepSpeed's autotuner imports MLflow where it finds it, which takes nearly as long as all the rest.
    sys.modules.setdefault("mlflow", None)  # type: ignore[arg-type]


def join(device: str, timeout: float, *, deepspeed: bool) -> Rank:
    """Enter the process group that the launcher's environment describes.

    Args:
        device: ``cpu`` or ``cuda``; a rank takes the GPU of its local rank.
        timeout: seconds after which a collective that not all ranks have entered is an error.
        deepspeed: whether DeepSpeed's own communication is set up too.
    """
    index, world, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    place = torch.device("cuda", local) if device == "cuda" else torch.device("cpu")
    if place.type == "cuda":
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=timedelta(seconds=timeout))
    if deepspeed:
        import deepspeed as ds

        # Needs a compiler, takes a minute, and sums over all ranks whatever group it is asked for.
        ds.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        ds.init_distributed(timeout=timedelta(seconds=timeout), dist_init_required=False)
    torch.manual_seed(0)
    return Rank(index, world, place)


def leave() -> NoReturn:
    """End this process. Threads of gloo can abort an interpreter that shuts down by itself."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
