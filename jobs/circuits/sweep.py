"""Many ablations of the same rows: each begins in the first block that it changes, and many share a pass.

An ablation of heads leaves everything before their outputs as it was. So the rows are run untouched once, and what
enters each block and what its heads give is kept; an ablation then costs the rest of the model. On a CPU as many
run at once as there are cores. What can't be resumed, a model on ranks, runs one whole pass an ablation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobs.circuits.ablation import Values
from jobs.circuits.side_by_side import side_by_side
from jobs.inference.base import Engine, HeadEdit, TokenBatch
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.inference.starts import Start, begin, resume
from tdlens.errors import UserError

TOKENS = {"cpu": 1024, "gpu": 16384}
"""Tokens of a pass. On a CPU what passes between operations should stay in its caches (``benchmarks/head_sweep.py``). A
GPU wants more at once; its number isn't measured, it keeps the logits of 50,000 words under 4 GB."""

Heads = Sequence[int]
"""Heads that are ablated together, as (block - 1) * n_heads + head."""
Measure = Callable[[Tensor, Tensor], Tensor]
"""What is measured of rows: their logits where they are read [b, Q, V], and which rows they are [b], to [b] float64."""
Told = Callable[[int], None]
"""Told how many more ablations are done."""


class _Chunk(NamedTuple):
    """What shares a pass."""

    block: int
    """In which it begins."""
    rows: slice
    indices: list[int]
    """Of the ablations."""


class Sweep(Protocol):
    """Rows of one length or padded on the right, and what is measured of each."""

    untouched: NDArray[np.float64]
    """What is measured where nothing is ablated [B]."""

    def run(self, ablations: Sequence[Heads], values: Values, told: Told | None = None) -> NDArray[np.float64]:
        """What is measured of each row under each ablation [n, B].

        Args:
            ablations: sets of heads, none empty.
            values: what ablated heads become.
            told: as ablations are done."""


def sweep_of(engine: Engine, tokens: TokenBatch, read_at: Tensor, measure: Measure) -> Sweep:
    """A sweep over the ablations of some rows.

    Args:
        engine: the model.
        tokens: the rows, padded on the right.
        read_at: columns whose logits are measured [B, Q], int64, none of them padding.
        measure: from the logits there.
    """
    if isinstance(engine, HuggingFaceEngine):
        return ResumedSweep(engine, tokens, read_at, measure)
    return WholeSweep(engine, tokens, read_at, measure)


class ResumedSweep:
    """The sweep of a model in this process. It holds what enters every block and what all heads give."""

    def __init__(self, engine: HuggingFaceEngine, tokens: TokenBatch, read_at: Tensor, measure: Measure) -> None:
        self.engine = engine
        self.tokens = TokenBatch(tokens.ids.to(engine.device), tokens.mask.to(engine.device))
        self.read_at = read_at.to(engine.device)
        self.measure = measure
        self.rows = torch.arange(len(self.tokens.ids), device=engine.device)
        n_rows = max(1, tokens_of_a_pass(engine.device) // self.tokens.ids.shape[1])
        parts = [slice(start, start + n_rows) for start in range(0, len(self.rows), n_rows)]
        measured, starts = zip(*side_by_side(engine, self._begin, parts), strict=True)
        self.untouched: NDArray[np.float64] = np.concatenate(measured)
        self.starts = [
            replace(each[0], stream=torch.cat([x.stream for x in each]), heads=torch.cat([x.heads for x in each]))
            for each in zip(*starts, strict=True)
        ]

    def run(self, ablations: Sequence[Heads], values: Values, told: Told | None = None) -> NDArray[np.float64]:
        measured = np.empty((len(ablations), len(self.rows)))
        by_block: defaultdict[int, list[int]] = defaultdict(list)
        for index, heads in enumerate(ablations):
            by_block[min(heads) // self.engine.n_heads + 1].append(index)
        chunks = {block: list(self._chunks(block, indices)) for block, indices in sorted(by_block.items())}
        do = partial(self._pass, ablations=ablations, values=values)
        with closing(side_by_side(self.engine, do, [chunk for each in chunks.values() for chunk in each])) as results:
            for block, each in chunks.items():
                for chunk in each:
                    measured[chunk.indices, chunk.rows] = next(results)
                if told is not None:
                    told(len(by_block[block]))
        return measured

    def _chunks(self, block: int, indices: Sequence[int]) -> Iterator[_Chunk]:
        """Those of one block: rather many ablations of few rows than the other way round."""
        wanted = self.read_at if block == self.engine.n_blocks else self.tokens.ids
        room = max(1, tokens_of_a_pass(self.engine.device) // wanted.shape[1])
        n_rows = max(1, min(len(self.rows), room // len(indices)))
        n_ablations = max(1, room // n_rows)
        for start in range(0, len(self.rows), n_rows):
            for first in range(0, len(indices), n_ablations):
                yield _Chunk(block, slice(start, start + n_rows), list(indices[first : first + n_ablations]))

    def _begin(self, engine: HuggingFaceEngine, rows: slice) -> tuple[NDArray[np.float64], list[Start]]:
        """Some rows untouched: what is measured of them [b], and where their ablations begin."""
        logits, starts = begin(
            engine, TokenBatch(self.tokens.ids[rows], self.tokens.mask[rows]), logits_at=self.read_at[rows]
        )
        return self.measure(logits, self.rows[rows]).cpu().numpy(), starts

    def _pass(
        self, engine: HuggingFaceEngine, chunk: _Chunk, ablations: Sequence[Heads], values: Values
    ) -> NDArray[np.float64]:
        """Every ablation of every row of a chunk, side by side [n, b]."""
        block, rows, n = chunk.block, chunk.rows, len(chunk.indices)
        at = self.read_at[rows]
        each = torch.arange(len(at), device=at.device)[:, None]
        # from the last block's heads on no token sees another, so those that aren't read are left out
        last = block == engine.n_blocks

        def own(x: Tensor) -> Tensor:
            return x[rows][each, at] if last else x[rows]

        def become(at_block: int, heads: list[int]) -> Tensor | None:
            value = values[at_block - 1]
            if value is None or value.ndim == 2:
                return None if value is None else value[heads]
            return own(value.expand(len(self.rows), -1, -1, -1))[..., heads, :]

        edits = []
        for place, index in enumerate(chunk.indices):
            its_rows = slice(place * len(at), (place + 1) * len(at))
            for at_block, heads in _by_block(ablations[index], engine.n_heads):
                edits.append(HeadEdit(at_block, tuple(heads), become(at_block, heads), its_rows))
        start = self.starts[block - 1]
        logits = resume(
            engine,
            TokenBatch(own(self.tokens.ids).repeat(n, 1), own(self.tokens.mask).repeat(n, 1)),
            replace(start, stream=own(start.stream).repeat(n, 1, 1), heads=own(start.heads).repeat(n, 1, 1, 1)),
            edits=edits,
            logits_at=torch.arange(at.shape[1]).expand(n * len(at), -1) if last else at.repeat(n, 1),
        )
        return self.measure(logits, self.rows[rows].repeat(n)).view(n, -1).cpu().numpy()


class WholeSweep:
    """The sweep of any engine: a whole pass for each ablation, to values that are the same in all rows."""

    def __init__(self, engine: Engine, tokens: TokenBatch, read_at: Tensor, measure: Measure) -> None:
        self.engine = engine
        self.tokens = tokens
        self.read_at = read_at
        self.measure = measure
        self.n_heads = engine.n_heads
        self.untouched: NDArray[np.float64] = self._pass([])

    def run(self, ablations: Sequence[Heads], values: Values, told: Told | None = None) -> NDArray[np.float64]:
        measured = np.empty((len(ablations), len(self.tokens.ids)))
        for index, ablated in enumerate(ablations):
            edits = []
            for block, heads in _by_block(ablated, self.n_heads):
                value = values[block - 1]
                edits.append(HeadEdit(block, tuple(heads), None if value is None else value[..., heads, :]))
            measured[index] = self._pass(edits)
            if told is not None:
                told(1)
        return measured

    def _pass(self, edits: Sequence[HeadEdit]) -> NDArray[np.float64]:
        rows = torch.arange(len(self.tokens.ids))
        everywhere = torch.arange(self.tokens.ids.shape[1]).expand(len(rows), -1)
        logits = self.engine.forward(self.tokens, positions=everywhere, edits=edits).logits
        assert logits is not None
        read = logits[rows[:, None], self.read_at]
        return self.measure(read, rows.to(read.device)).cpu().numpy()


def _by_block(ablated: Heads, n_heads: int) -> list[tuple[int, list[int]]]:
    """Heads of each block, counted from 1, within it."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    for head in ablated:
        found[head // n_heads + 1].append(head % n_heads)
    return sorted(found.items())


def tokens_of_a_pass(device: torch.device) -> int:
    """How many tokens are best run at once."""
    return TOKENS["cpu" if device.type == "cpu" else "gpu"]


def refuse_missing_heads(heads: Sequence[int], n_blocks: int, n_heads: int) -> None:
    """Raise UserError where one of ``heads`` isn't in a model of so many."""
    for head in heads:
        if not 0 <= head < n_blocks * n_heads:
            raise UserError(
                f"There is no head {head}: the model has {n_blocks} blocks of {n_heads} heads.",
                f"Choose heads between 0 and {n_blocks * n_heads - 1}, (block - 1) * {n_heads} + head.",
            )
