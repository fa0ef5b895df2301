"""The pool of writers: one batch in memory, errors where they can be heard, bytes that no thread's pace decides."""

from __future__ import annotations

import errno
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.shards import CHUNK, Shard, ShardWriters, write_shard
from jobs.writing import Writers
from tdlens.blobs import BlobStore
from tdlens.errors import DiskFull

WIDTH = 24


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def batches(count: int, rollouts: int = 2, dtype: torch.dtype = torch.float32) -> list[dict[int, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    shape = (rollouts, 5, WIDTH)
    return [{b: (torch.randn(shape, generator=generator) + 50).to(dtype) for b in (1, 2, 4)} for _ in range(count)]


def test_a_batch_waits_until_the_last_one_is_written() -> None:
    go = threading.Event()
    done: list[int] = []
    second = threading.Event()

    def slow(number: int) -> int:
        go.wait(10)
        done.append(number)
        return number

    def others(writers: Writers[int]) -> None:
        writers.put([lambda: slow(3)])
        second.set()

    with Writers[int](threads=2) as writers:
        writers.put([lambda n=n: slow(n) for n in range(3)])  # type: ignore[misc]
        putting = threading.Thread(target=others, args=(writers,))
        putting.start()
        assert not second.wait(0.1) and not done
        go.set()
        assert second.wait(10) and set(done) >= {0, 1, 2}
        putting.join()
        assert writers.results() == [0, 1, 2, 3]


def test_results_come_in_the_order_of_the_tasks_whichever_is_done_first() -> None:
    with Writers[int](threads=4) as writers:
        for first in (0, 4):
            writers.put([lambda n=n: time.sleep(0.02 * (3 - n % 4)) or n for n in range(first, first + 4)])  # type: ignore[misc]
        assert writers.results() == list(range(8))


@pytest.mark.parametrize("when", ["put", "results", "end"])
def test_an_error_is_heard_at_the_next_batch_or_at_the_end_and_what_waits_is_dropped(when: str) -> None:
    begun: list[str] = []

    def failing() -> None:
        begun.append("failing")
        raise DiskFull("The disk is full.", "Free some.")

    def last() -> None:
        begun.append("last")

    with pytest.raises(DiskFull), Writers[None](threads=1) as writers:
        writers.put([failing, lambda: time.sleep(0.05), last])
        if when == "put":
            writers.put([last])
        elif when == "results":
            writers.results()
    assert begun == ["failing"]


def test_an_interrupt_waits_for_what_is_being_written_and_for_nothing_else() -> None:
    begun = threading.Event()
    written: list[int] = []

    def write(number: int) -> None:
        begun.set()
        time.sleep(0.05)
        written.append(number)

    with pytest.raises(KeyboardInterrupt), Writers[None](threads=1) as writers:
        writers.put([lambda n=n: write(n) for n in range(50)])  # type: ignore[misc]
        begun.wait(10)
        raise KeyboardInterrupt
    assert 1 <= len(written) < 5


def test_shards_are_the_same_whatever_the_threads(tmp_path: Path) -> None:
    found: list[list[Shard]] = []
    for threads in (1, 4):
        store = SlowStore(tmp_path / f"{threads}", np.random.default_rng(threads))
        with ShardWriters(store, "float32", threads) as writers:
            for batch in batches(3):
                writers.take(batch)
            found.append(writers.results())
    assert found[0] == found[1]
    assert [(shard.block, shard.first_row, shard.n_rows) for shard in found[0]] == [
        (block, first, 10) for first in (0, 10, 20) for block in (1, 2, 4)
    ]


@dataclass(frozen=True)
class SlowStore(BlobStore):
    """A disk of changing speed."""

    rng: np.random.Generator

    def put_tensors(self, *arguments: Any) -> Any:
        time.sleep(self.rng.uniform(0, 0.02))
        return super().put_tensors(*arguments)


def test_a_full_disk_stops_the_capture_and_leaves_no_unfinished_file(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Full(BlobStore):
        def put_file(self, write: Any, suffix: str, *, size: int | None = None) -> Any:
            if len(list(self.stored())) < 4:
                return super().put_file(write, suffix, size=size)

            def half(path: Path) -> None:
                path.write_bytes(b"half")
                raise OSError(errno.ENOSPC, "No space left on device")

            return super().put_file(half, suffix, size=size)

    store, taken = Full(tmp_path), 0
    with pytest.raises(DiskFull, match="The disk is full"), ShardWriters(store, "float32", 1) as writers:
        for batch in batches(20):
            writers.take(batch)
            taken += 1
    assert taken == 2 and len(list(store.stored())) == 4
    assert not list((tmp_path / "unfinished").iterdir())


def test_what_was_written_is_let_go(tmp_path: Path) -> None:
    alive = most = 0

    def let_go() -> None:
        nonlocal alive
        alive -= 1

    with ShardWriters(BlobStore(tmp_path), "float32", 2) as writers:
        for _ in range(8):
            memory = {block: np.ones((2, 5, WIDTH)) for block in (1, 2, 4)}
            for array in memory.values():
                weakref.finalize(array, let_go)
            alive += len(memory)
            most = max(most, alive)
            batch = {block: torch.from_numpy(array) for block, array in memory.items()}
            del memory, array
            writers.take(batch)
            del batch
    assert alive == 0
    assert most <= 3 + 3 + 2  # one batch written, one made, and what each thread is about to let go


@pytest.mark.parametrize("source", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kept", ["float32", "bfloat16"])
def test_a_shard_is_the_mean_and_what_is_left_as_plain_arithmetic_has_it(
    tmp_path: Path, source: torch.dtype, kept: str
) -> None:
    store = BlobStore(tmp_path)
    generator = torch.Generator().manual_seed(1)
    width = 96
    n = 2 * CHUNK // width + 17  # more than two chunks, the last of them shorter
    rows = (torch.randn(n, width, generator=generator) + 300 * torch.randn(width, generator=generator)).to(source)
    tensors = store.load_tensors(write_shard(store, rows, getattr(torch, kept)).sha256)
    mean = rows.double().mean(0).float()
    assert torch.equal(tensors["mean"], mean)
    assert torch.equal(tensors["activations"], (rows - mean).to(getattr(torch, kept)))
