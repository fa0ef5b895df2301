"""How a model is laid out over the GPUs of a node: whole, its weights dealt out, or its heads split.

The arithmetic of weights against memory, with no model loaded. ZeRO-3 deals the weights out and gathers one block at
a time, so each rank reads its own prompts; tensor parallelism splits heads and neurons, so that all ranks work on the
same rows, which alone makes generation token by token affordable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import psutil

from jobs.inference.shapes import ModelShape
from tdlens.errors import UserError

Kind = Literal["single", "zero3", "tensor", "hf_tensor"]
Offload = Literal["none", "cpu", "nvme"]
Job = Literal["play", "read"]
"""``play``: closed loop with a cache. ``read``: whole texts, no generation."""

WORKING_SHARE = 0.15
"""Share of a GPU's memory kept for cache, activations and CUDA itself."""
HOST_SHARE = 0.9
"""Share of the host's memory that weights may take."""
LIVE_BLOCKS = 3
"""Blocks that ZeRO-3 holds gathered at a time: one at work, and what it fetches ahead."""


@dataclass(frozen=True)
class Node:
    """What a machine has."""

    n_gpus: int
    """0 where only CPUs compute."""
    gpu_memory: int
    """Bytes of each GPU; 0 without one."""
    host_memory: int | None
    """Bytes of main memory that this process may use; None if that isn't known, and so not looked at."""
    gpu: str
    """The GPU's name; empty without one."""

    @classmethod
    def here(cls) -> Self:
        """This machine, within the limits that a container or scheduler sets."""
        import torch

        host = min([psutil.virtual_memory().total, *_memory_limits()])
        if not torch.cuda.is_available():
            return cls(0, 0, host, "")
        gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return cls(len(gpus), min(gpu.total_memory for gpu in gpus), host, gpus[0].name)


@dataclass(frozen=True)
class Layout:
    """Where the weights lie while a model runs."""

    kind: Kind
    """``single``: whole on one device. ``zero3``: dealt out, gathered a block at a time. ``tensor``: split by
    DeepSpeed's AutoTP. ``hf_tensor``: split by Hugging Face."""
    ranks: int
    """Processes, one a GPU."""
    offload: Offload
    """Where ZeRO-3 keeps the weights while they aren't needed."""
    device_bytes: int
    """Weights on the fullest GPU (without GPUs: in the fullest process), the gathered blocks among them."""
    host_bytes: int
    """Weights in main memory."""
    reason: str
    """One line for people."""

    @property
    def readers(self) -> int:
        """Ranks that read different rows of a batch."""
        return self.ranks if self.kind == "zero3" else 1


@dataclass(frozen=True)
class _Case:
    shape: ModelShape
    dtype_bytes: int
    node: Node
    job: Job

    @property
    def working_bytes(self) -> int:
        return round(WORKING_SHARE * self.node.gpu_memory)

    @property
    def weights(self) -> int:
        return self.shape.parameters * self.dtype_bytes

    def device_bytes(self, kind: Kind, ranks: int, offload: Offload) -> int:
        if kind == "single":
            return self.weights
        if kind != "zero3":
            return self.shape.bytes_a_rank(ranks, self.dtype_bytes)
        live = max(LIVE_BLOCKS * max(self.shape.block_parameters), self.shape.embedding) * self.dtype_bytes
        kept = -(-self.weights // ranks) if offload == "none" else 0
        return min(kept + live, self.weights)

    def host_bytes(self, kind: Kind, ranks: int, offload: Offload) -> int:
        if self.node.n_gpus == 0:
            kept = self.weights if offload == "cpu" else 0
            return kept + ranks * self.device_bytes(kind, ranks, offload)
        return self.weights if offload == "cpu" else 0

    def fits(self, layout: Layout) -> bool:
        on_gpu = self.node.n_gpus == 0 or layout.device_bytes + self.working_bytes <= self.node.gpu_memory
        return on_gpu and (self.node.host_memory is None or layout.host_bytes <= HOST_SHARE * self.node.host_memory)

    def layout(self, kind: Kind, ranks: int, offload: Offload) -> Layout:
        device, host = self.device_bytes(kind, ranks, offload), self.host_bytes(kind, ranks, offload)
        return Layout(kind, ranks, offload, device, host, self._reason(kind, ranks, offload, device))

    def _reason(self, kind: Kind, ranks: int, offload: Offload, device: int) -> str:
        gpu = self.node.n_gpus > 0
        place = f"{ranks} {'GPU' if gpu else 'process'}{('s' if gpu else 'es') if ranks > 1 else ''}"
        room = f" of {readable(self.node.gpu_memory)}" if gpu else ""
        why = {
            "single": "the weights fit on one device",
            "zero3": "every rank reads its own prompts, and gathers one block at a time",
            "tensor": "heads and neurons are split (DeepSpeed AutoTP), so that generation moves no weights",
            "hf_tensor": "heads and neurons are split, so that generation moves no weights",
        }[kind]
        if kind == "tensor" and not self.shape.splits_evenly(ranks):
            why += "; not evenly, as they don't divide"
        if kind == "zero3" and self.job == "play":
            why += ", at every step of generation: slow"
        kept = {"none": "", "cpu": ", the rest in main memory", "nvme": ", the rest on NVMe"}[offload]
        return (
            f"{KIND_NAMES[kind]} on {place}{room}: {readable(self.weights)} of weights, {readable(device)} on "
            f"{'each' if ranks > 1 else 'it'}{kept}; {why}"
        )


KIND_NAMES: dict[Kind, str] = {
    "single": "whole model",
    "zero3": "ZeRO-3",
    "tensor": "tensor parallel",
    "hf_tensor": "tensor parallel (Hugging Face)",
}


def choose(
    shape: ModelShape,
    dtype_bytes: int,
    node: Node,
    job: Job,
    *,
    ranks: int | None = None,
    kind: Kind | Literal["auto"] = "auto",
    offload: Offload | Literal["auto"] = "auto",
    nvme: Path | None = None,
) -> Layout:
    """The first layout that holds the model, fastest first; what is given is kept to, or refused.

    Closed loop: tensor parallel where the model can be split (AutoTP before Hugging Face), else ZeRO-3. Reading:
    ZeRO-3. On one device the whole model if it fits, else ZeRO-3 from main memory, else from NVMe.

    Args:
        shape: sizes of the model.
        dtype_bytes: bytes of a parameter.
        node: the machine.
        job: what the model is to do.
        ranks: processes, one a GPU; all GPUs if None (one process without GPUs).
        kind: a layout, or ``auto``.
        offload: where ZeRO-3 keeps what isn't needed, or ``auto``.
        nvme: a folder on a fast disk, without which NVMe is not considered.

    Raises:
        UserError: an architecture that can't be split so, more ranks than GPUs, or weights that fit nowhere.
    """
    if ranks is not None and ranks < 1:
        raise UserError(f"A model can't run on {ranks} ranks.", "Give at least 1.")
    if node.n_gpus and (ranks or 1) > node.n_gpus:
        raise UserError(
            f"{ranks} ranks were asked for, and this node has {node.n_gpus} GPU{'s' if node.n_gpus > 1 else ''}.",
            f"Ask for at most {node.n_gpus}: each rank needs a GPU of its own.",
        )
    most = ranks or node.n_gpus or 1
    counts = [most] if ranks else list(range(most, 1, -1)) or [1]
    _refuse_impossible(shape, counts, kind, offload, nvme)
    case = _Case(shape, dtype_bytes, node, job)
    tried = [case.layout(*candidate) for candidate in _candidates(case, counts, ranks is not None, kind, offload, nvme)]
    for layout in tried:
        if case.fits(layout):
            return layout
    raise _nothing_fits(case, most, nvme)


def readable(n: float) -> str:
    """A number of bytes with a decimal unit, as disks and GPUs are sold."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n:.0f} bytes"


def _candidates(
    case: _Case,
    counts: list[int],
    given: bool,
    kind: Kind | Literal["auto"],
    offload: Offload | Literal["auto"],
    nvme: Path | None,
) -> Iterator[tuple[Kind, int, Offload]]:
    shape, most = case.shape, counts[0]
    kinds: list[Kind]
    if kind != "auto":
        kinds = [kind]
    elif most == 1:
        kinds = ["single", "zero3"]
    elif case.job == "read":
        kinds = ["zero3"]
    else:
        kinds = ["tensor", "hf_tensor", *([] if given else ["single"]), "zero3"]  # type: ignore[list-item]
    for each in kinds:
        if each == "zero3":
            places: list[Offload] = ["none", "cpu", *(["nvme"] if nvme else [])]  # type: ignore[list-item]
            yield from ((each, most, place) for place in places if offload in ("auto", place))
        elif offload in ("cpu", "nvme"):
            continue
        elif each == "single":
            yield each, 1, "none"
        elif each == "tensor" and shape.autotp:
            even = [n for n in counts if shape.splits_evenly(n)]
            yield from ((each, n, "none") for n in even)
            if kind == "tensor" or (given and not even):
                yield each, most, "none"
        elif each == "hf_tensor":
            yield from ((each, n, "none") for n in counts if shape.hf_splits(n))


def _refuse_impossible(shape: ModelShape, counts: list[int], kind: str, offload: str, nvme: Path | None) -> None:
    if offload == "nvme" and nvme is None:
        raise UserError("Weights on NVMe need a folder there.", "Name one on a fast local disk: model.parallel.nvme")
    if kind not in ("auto", "zero3") and offload in ("cpu", "nvme"):
        raise UserError(
            f"Layout {kind} keeps all weights on the GPUs: there is nothing to offload.",
            "Choose layout zero3 for weights outside the GPUs, or offload none.",
        )
    if kind == "single" and min(counts) > 1 and len(counts) == 1:
        raise UserError(f"Layout single is one process, not {counts[0]}.", "Choose zero3 or tensor, or one rank.")
    if kind == "tensor" and not shape.autotp:
        other = "hf_tensor or zero3" if shape.hf_tensor else "zero3"
        raise UserError(
            f"DeepSpeed's AutoTP doesn't split {shape.architecture} right: its blocks are not made of the linear maps "
            "of Llama.",
            f"Choose layout {other}, or auto.",
        )
    if kind == "hf_tensor" and not shape.hf_tensor:
        raise UserError(
            f"Hugging Face has no tensor parallel plan for {shape.architecture}.", "Choose layout zero3, or auto."
        )
    if kind == "hf_tensor" and not any(shape.hf_splits(n) for n in counts):
        raise UserError(
            f"Hugging Face can't split {shape.n_heads} heads, {shape.n_kv_heads} of keys and values, and "
            f"{shape.d_mlp} neurons over {' or '.join(map(str, reversed(counts)))} ranks.",
            "Choose a number of ranks that divides them all, or layout zero3.",
        )


def _nothing_fits(case: _Case, most: int, nvme: Path | None) -> UserError:
    node, weights = case.node, case.weights
    memory = "" if node.host_memory is None else f"{readable(node.host_memory)} of main memory"
    remedies = []
    if case.dtype_bytes > 2:
        remedies.append(f"bfloat16 ({readable(case.shape.parameters * 2)} of weights)")
    if node.n_gpus:
        gpu = (
            f"each has {readable(node.gpu_memory)}, of which {readable(case.working_bytes)} are kept for cache, "
            "activations and CUDA"
        )
        room = node.gpu_memory - case.working_bytes - case.device_bytes("zero3", 1, "cpu")
        if room > 0 and (needed := -(-weights // room)) > most:
            remedies.append(f"{needed} such GPUs with ZeRO-3")
        remedies.append(f"offload to main memory of {readable(weights / HOST_SHARE)} or more")
        if nvme is None:
            remedies.append("a folder on NVMe")
        where = f"on {most} of {node.n_gpus} GPUs ({gpu}){memory and f' with {memory}'}"
    else:
        where = f"in {memory}"
        remedies.append(f"{readable(weights / HOST_SHARE)} of main memory")
    return UserError(
        f"{case.shape.architecture} with {readable(weights)} of weights doesn't fit {where}.",
        f"What would fit: {'; '.join(remedies)}; or a smaller model.",
    )


def _memory_limits() -> Iterator[int]:
    """Limits of the control groups that this process is in, of either version."""
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, inside = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = Path("/sys/fs/cgroup") / controllers
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        for group in (root, *(root / parent for parent in _ancestors(inside))):
            yield from (int(text) for text in _lines(group / name) if text.isdecimal())


def _ancestors(path: str) -> list[str]:
    parts = path.strip("/").split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
