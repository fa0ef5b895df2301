"""Libraries that seed and use what the whole process shares: lend it to them, and put it back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def generators_put_back() -> Iterator[None]:
    """stable-baselines3 seeds and uses the global generators: lend them, and put everything back."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: for layers too small for more, and where the number of threads would show."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
