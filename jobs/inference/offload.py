"""Bringing tensors from an accelerator to host memory without holding it up.

A copy that the accelerator makes by itself needs page-locked host memory, which is slow to allocate and taken from
everybody else. So there is a small fixed amount of it, a ring of slots that are used again and again: the accelerator
fills one, on a stream of its own beside the model's, while the host empties the one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

import torch
from torch import Tensor

SLOTS = 4
"""Slots in a ring: two for the copies of one decision while those of the one before are emptied."""
CAPACITY = 64 << 20
"""Bytes of a slot: 3 ms of PCIe, long beside what starting a copy costs."""
ALIGNMENT = 256
"""Bytes to whose multiples a tensor's place in a slot is rounded up; any dtype may begin there."""


class Offload:
    """Copies to host memory, begun one after the other and finished together.

    Not to be shared between threads. On a CPU there is nothing to wait for, and ``slots`` is empty.

    Args:
        slots: the ring; where it has none, copies are plain copies.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = slots
        self._now = 0

    @classmethod
    def of(cls, device: torch.device, slots: int = SLOTS, capacity: int = CAPACITY) -> Self:
        """What brings tensors from ``device``; ``capacity`` in bytes is each slot's, allocated when first needed."""
        if device.type != "cuda":
            return cls([])
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return cls([Slot(stream, capacity) for _ in range(slots)])

    def copy(self, source: Tensor, destination: Tensor) -> None:
        """Begin to fill ``destination``, in host memory, with ``source``: same shape and dtype, any strides.

        Waits where the ring is full, for the slot that was filled first. Neither tensor may be changed, nor the
        destination read, before :meth:`finish` returns.
        """
        if not self._slots:
            destination.copy_(source)
            return
        for one, place in _pieces(source, destination, self._slots[0].capacity):
            if not self._slots[self._now].fits(one):
                self._slots[self._now].seal()
                self._now = (self._now + 1) % len(self._slots)
                self._slots[self._now].empty()
            self._slots[self._now].fill(one, place)

    def host(self, source: Tensor) -> Tensor:
        """``source`` in host memory: itself if it lies there, else a new tensor, to be read after :meth:`finish`."""
        if not self._slots:
            return source
        destination = torch.empty(source.shape, dtype=source.dtype)
        self.copy(source, destination)
        return destination

    def finish(self) -> None:
        """Wait until everything has arrived."""
        if self._slots:
            self._slots[self._now].seal()
        for offset in range(1, len(self._slots) + 1):
            self._slots[(self._now + offset) % len(self._slots)].empty()


class Slot:
    """Page-locked memory on its way: filled by the accelerator, emptied by the host, filled again.

    Args:
        stream: on which the copies run, after all that the accelerator was told to do before them.
        capacity: in bytes.
    """

    def __init__(self, stream: torch.cuda.Stream, capacity: int) -> None:
        self.capacity = capacity
        self._stream = stream
        self._memory: Tensor | None = None
        self._used = 0
        self._begun: list[tuple[Tensor, Tensor, Tensor]] = []
        """Source, place in the slot, destination. Sources are held so that their memory isn't given to others."""
        self._arrived: torch.cuda.Event | None = None

    def fits(self, source: Tensor) -> bool:
        """Whether there is room left for a tensor."""
        return self._used + source.nbytes <= self.capacity

    def fill(self, source: Tensor, destination: Tensor) -> None:
        """Begin the copy of a tensor that fits."""
        if self._memory is None:
            self._memory = self.allocate()
        place = self._memory[self._used : self._used + source.nbytes].view(source.dtype).view(source.shape)
        self._used += -(-source.nbytes // ALIGNMENT) * ALIGNMENT
        self.begin(source, place)
        self._begun.append((source, place, destination))

    def seal(self) -> None:
        """Mark the end of what was begun."""
        if self._begun:
            self._arrived = self.mark()

    def empty(self) -> None:
        """Wait for what was begun, and hand it over."""
        if self._arrived is not None:
            self._arrived.synchronize()
        for _, place, destination in self._begun:
            destination.copy_(place)
        self._begun, self._used, self._arrived = [], 0, None

    def allocate(self) -> Tensor:
        """The slot's memory, uint8 [capacity]."""
        return torch.empty(self.capacity, dtype=torch.uint8, pin_memory=True)

    def begin(self, source: Tensor, place: Tensor) -> None:
        """Let the accelerator copy, once it has computed the source."""
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            place.copy_(source, non_blocking=True)

    def mark(self) -> torch.cuda.Event:
        """An event after all that was begun."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event


def _pieces(source: Tensor, destination: Tensor, capacity: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The pair cut along its first dimensions until each part fits into a slot."""
    if source.nbytes <= capacity:
        yield source, destination
    elif len(source) == 1:
        yield from _pieces(source[0], destination[0], capacity)
    else:
        half = len(source) // 2
        yield from _pieces(source[:half], destination[:half], capacity)
        yield from _pieces(source[half:], destination[half:], capacity)
