"""A study's needs beside what a node has: the estimate, and what of it doesn't fit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from jobs.inference.huggingface import refuse_missing_blocks
from jobs.inference.layout import Layout, Node, choose, readable
from jobs.planning.disk import Disk
from jobs.planning.memory import device_working, host_needs, largest, training_device, training_ranks
from jobs.planning.nodes import Space
from jobs.planning.scope import Scope
from jobs.planning.speed import Machine, Seconds, added, dtype_size
from jobs.planning.stages import Stage, stages_of
from tdlens.errors import UserError

TIGHT = 0.9
"""A share of memory or disk above which it, and not what takes the time, is called binding."""


@dataclass(frozen=True)
class Room:
    """One resource that is held, in bytes."""

    name: str
    needed: int
    available: int | None
    """None where it isn't known."""
    when: str
    """The stage that needs most of it."""

    @property
    def fits(self) -> bool:
        return self.available is None or self.needed <= self.available

    @property
    def share(self) -> float:
        """Of what there is; 0 where that isn't known."""
        return self.needed / self.available if self.available else 0.0


@dataclass(frozen=True, eq=False)
class Estimate:
    """Everything that a study needs of a node."""

    scope: Scope
    node: Node
    play: Layout
    """For the closed loop and the interventions."""
    read: Layout | None
    """For the untrained control."""
    disk: Disk
    rooms: tuple[Room, ...]
    stages: tuple[Stage, ...]

    @property
    def hours(self) -> float:
        return sum(stage.hours for stage in self.stages)

    @property
    def fits(self) -> bool:
        return all(room.fits for room in self.rooms)

    @cached_property
    def waits(self) -> Seconds:
        """Seconds by what they are spent on, the most first."""
        seconds = added(stage.seconds for stage in self.stages)
        return dict(sorted(seconds.items(), key=lambda item: -item[1]))

    @property
    def binding(self) -> str:
        """What a bigger study, or a faster one, would need more of first."""
        fullest = max(self.rooms, key=lambda room: room.share)
        return fullest.name if fullest.share > TIGHT else next(iter(self.waits))

    @property
    def kv_bytes(self) -> int:
        """Keys and values of one token."""
        return self.scope.shape.kv_bytes(self.scope.dtype_bytes)

    @property
    def residual_bytes(self) -> int:
        """The captured blocks' residual stream at one position, as it lies on the disk."""
        return len(self.scope.blocks) * self.scope.shape.d_model * dtype_size(self.scope.study.capture.dtype)


def estimate(scope: Scope, node: Node, machine: Machine, space: Space) -> Estimate:
    """What a study needs of a node.

    Args:
        scope: the study.
        node: the machine's memory.
        machine: the machine's speed.
        space: what is free on its disks.

    Raises:
        UserError: a text longer than the model's context, a block that isn't there, weights that fit nowhere.
    """
    _refuse_misfits(scope)
    play, read = _layouts(scope, node)
    disk = Disk.of(scope)
    return Estimate(
        scope=scope,
        node=node,
        play=play,
        read=read,
        disk=disk,
        rooms=tuple(_rooms(scope, node, play, read, disk, space)),
        stages=tuple(stages_of(scope, machine, play, read, disk, training_ranks(scope, node.n_gpus))),
    )


def refusal(found: Estimate) -> str | None:
    """What doesn't fit, as a sentence; None if all does."""
    missing = [
        f"{room.name}: {room.when} needs {readable(room.needed)}, and there are {readable(room.available or 0)}"
        for room in found.rooms
        if not room.fits
    ]
    return f"The study doesn't fit. {'; '.join(missing)}." if missing else None


def _refuse_misfits(scope: Scope) -> None:
    shape, texts = scope.shape, scope.texts
    refuse_missing_blocks(shape.n_blocks, scope.blocks)
    if shape.context is not None and texts.longest > shape.context:
        raise UserError(
            f"A rollout has up to {texts.longest:,} tokens, more than the model's context of {shape.context:,}.",
            "Play fewer episodes or tell fewer steps (task.settings), or use a model with a longer context.",
        )


def _layouts(scope: Scope, node: Node) -> tuple[Layout, Layout | None]:
    model = scope.study.model
    asked = model.parallel
    pick = partial(
        choose,
        scope.shape,
        scope.dtype_bytes,
        node,
        ranks=asked.ranks if model.engine == "deepspeed" else 1,
        kind=asked.layout if model.engine == "deepspeed" else "single",
        offload=asked.offload if model.engine == "deepspeed" else "none",
        nvme=None if asked.nvme is None else Path(asked.nvme),
    )
    return pick(job="read" if scope.reads else "play"), pick(job="read") if scope.untrained else None


def _rooms(scope: Scope, node: Node, play: Layout, read: Layout | None, disk: Disk, space: Space) -> list[Room]:
    gpu = node.n_gpus > 0
    beside = {"play": device_working(scope, "play", play.kind, play.ranks, has_gpu=gpu)}
    if read is not None:
        beside["harvest"] = read.device_bytes + device_working(scope, "read", read.kind, read.ranks, has_gpu=gpu)
    if scope.autoencoders:
        # models on ranks make room for it, one in this process stays where it is
        given_up = play.device_bytes if scope.study.model.engine == "deepspeed" else 0
        beside["train_sae"] = training_device(scope) - given_up
    resident = play.host_bytes + (read.host_bytes if read else 0)
    if not gpu:
        resident += play.ranks * largest(beside)[1]
    processes = 1 if play.kind == "single" else 1 + play.ranks + (read.ranks if read else 0)
    harvest = scope.harvest(read.readers) if read else []
    training = training_ranks(scope, node.n_gpus)
    when, needed = largest(host_needs(scope, resident, processes, training, scope.play(play.readers), harvest))
    rooms = [Room("main memory", needed, node.host_memory, when)]
    if gpu:
        when, needed = largest(beside)
        rooms.insert(0, Room("GPU memory", play.device_bytes + needed, node.gpu_memory, when))
    rooms.append(Room("disk space", disk.total, space.blobs, "the whole study"))
    if read is not None and scope.study.model.engine == "deepspeed":
        weights = scope.shape.parameters * scope.dtype_bytes  # drawn once, read by the ranks
        rooms.append(Room("scratch space (TMPDIR)", weights, space.scratch, "harvest"))
    return rooms
