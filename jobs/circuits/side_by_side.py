"""Independent passes through one model side by side, one on each core.

What a small model computes at once is too little to be split well among threads. Passes that don't depend on each other
needn't be: each has one thread to itself, and so numbers don't depend on how many run at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from queue import SimpleQueue
from typing import Any, TypeVar

import torch

from jobs.global_state import one_thread
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.inference.onednn import use_onednn

Given = TypeVar("Given")
Result = TypeVar("Result")


def side_by_side(
    engine: HuggingFaceEngine, run: Callable[[HuggingFaceEngine, Given], Result], each: Sequence[Given]
) -> Generator[Result]:
    """What ``run`` gives for each of ``each``, in their order; on a CPU as many at once as torch may use threads.

    Until it is exhausted or closed torch computes with one thread everywhere. What ``run`` raises is raised here, once
    those that had begun are done; no more are begun.

    Args:
        engine: the model. On a CPU ``run`` gets others of the same weights.
        run: called in threads; it may hook and replace modules of the engine that it gets.
        each: what it is called with.
    """
    if engine.device.type != "cpu":
        yield from (run(engine, one) for one in each)
        return
    workers = min(torch.get_num_threads(), len(each))
    free: SimpleQueue[HuggingFaceEngine] = SimpleQueue()
    for _ in range(workers):
        free.put(_of_the_same_weights(engine))

    def run_one(one: Given) -> Result:
        own = free.get()
        try:
            return run(own, one)
        finally:
            free.put(own)

    # torch keeps how many threads it uses for each thread of Python, too
    with one_thread(), ThreadPoolExecutor(max(1, workers), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        running = [pool.submit(run_one, one) for one in each]
        try:
            for future in running:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _of_the_same_weights(engine: HuggingFaceEngine) -> HuggingFaceEngine:
    """An engine of modules of its own, with the hooks that are on them now; tensors and tokenizer are shared."""
    shared: list[Any] = [engine.tokenizer, *chain(engine.model.parameters(), engine.model.buffers())]
    own = copy.deepcopy(engine, {id(each): each for each in shared})
    use_onednn(own.model)
    return own
