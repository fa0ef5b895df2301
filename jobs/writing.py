"""Threads that write what was computed while the next is being computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

from jobs.cores import available_cores

T = TypeVar("T")
MOST_THREADS = 4
"""What keeps a fast local disk busy: a thread hashes and serialises about 1 GB/s."""


class Writers(Generic[T]):
    """A pool of threads that is given tasks batch by batch, and holds one batch at most.

    Whoever comes with a batch before the last one is written waits: so what is computed faster than it can be
    written doesn't pile up in memory. Used as a context: no thread outlives it, no error of a task is lost in it, and
    what hasn't begun when it is left by an exception is dropped.

    Args:
        threads: how many tasks are done at once; by default as many as there are cores, at most ``MOST_THREADS``.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads or min(MOST_THREADS, available_cores()), "writer")
        self._batch: list[Future[T]] = []
        self._results: list[T] = []

    def put(self, tasks: Iterable[Callable[[], T]]) -> None:
        """Hand over a batch once the last one is done.

        Raises:
            Exception: what a task of the last batch raised; of several, the one that was put first.
        """
        self._settle()
        self._batch = [self._pool.submit(task) for task in tasks]

    def results(self) -> list[T]:
        """What all tasks returned, in the order in which they were put; waits, and raises as :meth:`put`."""
        self._settle()
        return list(self._results)

    def _settle(self) -> None:
        self._results += [future.result() for future in self._batch]
        self._batch = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._settle()
        finally:
            self._pool.shutdown(cancel_futures=True)
