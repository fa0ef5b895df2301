"""The node that is planned for: this machine, or one that is described."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from jobs.inference.layout import Node
from jobs.planning.devices import GPUS, Device, known_gpu
from tdlens.errors import UserError
from tdlens.settings import Settings


def node_of(
    cpu: Device,
    *,
    gpus: int | None = None,
    gpu: str | None = None,
    gpu_memory: float | None = None,
    host_memory: float | None = None,
) -> tuple[Node, Device]:
    """What the node has, and how fast each of its devices is.

    Args:
        cpu: this machine's processor.
        gpus: GPUs of the node; by default those that this machine has, or one if ``gpu`` is given.
        gpu: their name.
        gpu_memory: bytes of each, where it isn't the usual.
        host_memory: bytes of main memory; by default this machine's, or unknown for another one.

    Raises:
        UserError: a GPU that isn't known, or none named where this machine has none either.
    """
    here = Node.here()
    host = here.host_memory if host_memory is None else round(host_memory)
    if gpus == 0 or (gpus is None and gpu is None and gpu_memory is None and here.n_gpus == 0):
        return Node(0, 0, host, ""), cpu
    name = gpu or here.gpu
    if not name:
        raise UserError("This machine has no GPU to plan with.", f"Name the one you mean: --gpu {' or '.join(GPUS)}.")
    device = known_gpu(name)
    if gpu is None and gpu_memory is None and gpus in (None, here.n_gpus):
        return Node(here.n_gpus, here.gpu_memory, host, here.gpu), device
    memory = gpu_memory or (here.gpu_memory if gpu is None else device.memory)
    host = None if host_memory is None else round(host_memory)
    return Node(gpus or here.n_gpus or 1, round(memory), host, name), device


@dataclass(frozen=True)
class Space:
    """Free bytes on disks; None where they aren't known."""

    blobs: int | None = None
    """Where blobs are written."""
    scratch: int | None = None
    """Where temporary files are."""

    @classmethod
    def here(cls, settings: Settings) -> Self:
        """This machine's. An object store's isn't known."""
        return cls(None if settings.blobs_url else _free(settings.blobs.absolute()), _free(Path(tempfile.gettempdir())))


def _free(folder: Path) -> int:
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
