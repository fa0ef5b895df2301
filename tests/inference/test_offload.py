"""What is brought to the host arrives whole, in time, and through a fixed amount of page-locked memory."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.inference.offload import Offload, Slot
from jobs.inference.play import play, read, replay
from tests.inference.tiny import small_games, tiny_engine

DTYPES = (torch.float32, torch.bfloat16, torch.int64)


class Accelerator:
    """Copies only when it is waited for, as late as one can be."""

    def __init__(self) -> None:
        self.begun: list[tuple[weakref.ref[torch.Tensor], torch.Tensor]] = []
        """Sources, which it doesn't keep alive by itself, and where they go."""
        self.done = 0
        self.most = 0
        """Bytes that were under way at once, at most."""
        self.slots: list[LateSlot] = []

    def offload(self, slots: int, capacity: int) -> Offload:
        self.slots = [LateSlot(self, capacity) for _ in range(slots)]
        return Offload(self.slots)

    def run(self, until: int) -> None:
        """Make the copies up to the given one, in their order."""
        for reference, place in self.begun[self.done : until]:
            source = reference()
            assert source is not None, "a source was given up before it was copied"
            place.copy_(source)
        self.done = max(self.done, until)


@dataclass
class Mark:
    accelerator: Accelerator
    until: int

    def synchronize(self) -> None:
        self.accelerator.run(self.until)


class LateSlot(Slot):
    def __init__(self, accelerator: Accelerator, capacity: int) -> None:
        stream: Any = None
        super().__init__(stream, capacity)
        self.accelerator = accelerator
        self.allocations = 0

    def allocate(self) -> torch.Tensor:
        self.allocations += 1
        return torch.full((self.capacity,), 255, dtype=torch.uint8)

    def begin(self, source: torch.Tensor, place: torch.Tensor) -> None:
        self.accelerator.begun.append((weakref.ref(source), place))
        under_way = sum(place.nbytes for _, place in self.accelerator.begun[self.accelerator.done :])
        self.accelerator.most = max(self.accelerator.most, under_way)

    def mark(self) -> Any:
        return Mark(self.accelerator, len(self.accelerator.begun))


def numbered(shape: tuple[int, ...], dtype: torch.dtype, first: int) -> torch.Tensor:
    count = torch.Size(shape).numel()
    return torch.arange(first, first + count).reshape(shape).to(dtype)


@given(
    shapes=st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=3), min_size=1, max_size=12),
    slots=st.integers(1, 4),
    capacity=st.sampled_from((64, 256, 1000, 4096)),
    rounds=st.integers(1, 3),
)
def test_everything_arrives_through_memory_that_is_allocated_once(
    shapes: list[list[int]], slots: int, capacity: int, rounds: int
) -> None:
    accelerator = Accelerator()
    offload = accelerator.offload(slots, capacity)
    for number in range(rounds):
        sources = [numbered(tuple(shape), DTYPES[i % 3], 1000 * number) for i, shape in enumerate(shapes)]
        # every second column of something wider: as a decision's column of a batch
        wide = [torch.zeros(*source.shape, 2, dtype=source.dtype) for source in sources]
        for source, destination in zip(sources, wide, strict=True):
            offload.copy(source, destination[..., 1])
        whole = [offload.host(source) for source in sources]
        offload.finish()
        for source, destination, other in zip(sources, wide, whole, strict=True):
            assert torch.equal(destination[..., 1], source) and torch.equal(other, source)
            assert not destination[..., 0].any()
    assert all(slot.allocations <= 1 for slot in accelerator.slots)
    assert accelerator.most <= slots * capacity


def test_a_full_ring_waits_for_its_oldest_slot_and_for_no_other() -> None:
    accelerator = Accelerator()
    offload = accelerator.offload(slots=3, capacity=256)
    sources = [numbered((32,), torch.int64, 100 * i) for i in range(5)]  # one fills a slot
    destinations = [torch.full((32,), -1) for _ in sources]
    for source, destination in zip(sources[:3], destinations, strict=False):
        offload.copy(source, destination)
    assert accelerator.done == 0 and all((destination == -1).all() for destination in destinations)
    offload.copy(sources[3], destinations[3])
    assert torch.equal(destinations[0], sources[0])
    assert all((destination == -1).all() for destination in destinations[1:])
    offload.copy(sources[4], destinations[4])
    assert torch.equal(destinations[1], sources[1]) and (destinations[2] == -1).all()
    offload.finish()
    assert all(torch.equal(*pair) for pair in zip(destinations, sources, strict=True))


def test_on_a_cpu_nothing_is_copied_twice() -> None:
    offload = Offload.of(torch.device("cpu"))
    source, destination = torch.randn(3, 4), torch.zeros(3, 2, 4)
    assert offload.host(source) is source
    offload.copy(source, destination[:, 1])
    assert torch.equal(destination[:, 1], source)
    offload.finish()


@pytest.mark.parametrize("predicting", [True, False])
def test_texts_are_read_on_while_blocks_travel_and_are_let_go(
    monkeypatch: pytest.MonkeyPatch, predicting: bool
) -> None:
    engine = tiny_engine("llama")
    blocks = list(range(engine.n_blocks + 1))
    texts = play(engine, small_games(3), seed=0).transcripts
    size = 3 * len(texts[0].decisions) * engine.d_model * 4
    accelerator = Accelerator()
    begun, held = [], []

    def note(*_: object) -> None:
        begun.append(len(accelerator.begun))
        held.append(sum(source() is not None for source, _ in accelerator.begun))

    def captured() -> dict[int, torch.Tensor]:
        found: dict[int, torch.Tensor] = {}
        if predicting:
            replay(engine, texts, (" left", " right"), capture=blocks, take=found.update)
        else:
            read(engine, texts, capture=blocks, take=found.update)
        return found

    expected = captured()
    monkeypatch.setattr(Offload, "of", lambda device: accelerator.offload(slots=2, capacity=size))
    for block in engine.blocks:
        block.self_attn.register_forward_pre_hook(note)
    found = captured()
    assert begun == blocks[1:]  # what enters a block is on its way before the block is computed
    assert max(held) <= 3  # the ring, and what enters
    assert list(found) == blocks and all(torch.equal(found[block], expected[block]) for block in blocks)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_device_goes_on_while_its_results_travel(dtype: torch.dtype) -> None:
    device = torch.device("cuda")
    offload = Offload.of(device, slots=3, capacity=1 << 20)
    weight = torch.randn(1024, 1024, device=device, dtype=dtype) / 32
    x = torch.randn(1024, 1024, device=device, dtype=dtype)
    results, destinations = [], torch.zeros(40, 1024, 2, 1024, dtype=dtype)
    for destination in destinations:
        x = x @ weight  # not waited for before it is copied
        results.append(x.clone())
        offload.copy(x, destination[:, 1])
    offload.finish()
    assert torch.equal(destinations[:, :, 1], torch.stack(results).cpu())
    assert not destinations[:, :, 0].any()
