"""Passes that begin within a decoder block: what precedes the edited heads is run once, however many edits follow."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jobs.inference.base import HeadEdit, TokenBatch
from jobs.inference.blocks import Visit, mlp_at, starting_in, visiting
from jobs.inference.huggingface import HuggingFaceEngine, refuse_overlong


@dataclass(frozen=True, eq=False)
class Start:
    """What a pass needs to begin at the outputs of one decoder block's attention heads."""

    block: int
    """Which decoder block, 1 to n_blocks."""
    stream: Tensor
    """What enters it [B, T, d]."""
    heads: Tensor
    """What its heads give to its output projection, unedited [B, T, H, d_head]."""
    tuples: bool
    """Whether the model's blocks return tuples."""


@torch.no_grad()
def begin(engine: HuggingFaceEngine, tokens: TokenBatch, *, logits_at: Tensor) -> tuple[Tensor, list[Start]]:
    """Run a model untouched, and keep what passes need that begin within its blocks.

    Args:
        engine: the model.
        tokens: rows, padded on either side.
        logits_at: columns of ``tokens`` [B, Q], int64; none may be padding.

    Returns:
        Logits of the next token at these columns [B, Q, V], and a start in each decoder block in turn.

    Raises:
        UserError: it isn't known where the model's heads write, or the text is too long for its context.
    """
    ids, mask = tokens.ids.to(engine.device), tokens.mask.to(engine.device)
    refuse_overlong(engine.config, int(mask.sum(dim=1).max()))
    rows = torch.arange(len(ids), device=engine.device)[:, None]
    blocks = range(1, engine.n_blocks + 1)
    streams: list[Tensor] = []
    heads: list[Tensor] = []
    tuples: list[bool] = []
    visits: dict[int, Visit] = {block - 1: streams.append for block in blocks}
    with ExitStack() as hooks:
        hooks.enter_context(visiting(engine.blocks, visits))
        hooks.enter_context(engine.head_at(rows, logits_at.to(engine.device)))
        for block in blocks:
            handle = engine.projection(block).register_forward_pre_hook(lambda _, args: heads.append(args[0]))
            hooks.callback(handle.remove)
        handle = engine.blocks[0].register_forward_hook(lambda *given: tuples.append(isinstance(given[-1], tuple)))
        hooks.callback(handle.remove)
        logits: Tensor = engine.model(**engine.arguments(ids, mask)).logits
    kept: Any = zip(blocks, streams, heads, strict=True)
    return logits, [Start(block, x, z.unflatten(-1, (-1, engine.d_head)), tuples[0]) for block, x, z in kept]


@torch.no_grad()
def resume(
    engine: HuggingFaceEngine, tokens: TokenBatch, start: Start, *, edits: Sequence[HeadEdit], logits_at: Tensor
) -> Tensor:
    """Run a model from a start on, with heads edited at every token.

    Where the start is in the last block any tokens may be left out of rows and start: there they see no others.

    Args:
        engine: the model.
        tokens: the rows of the start.
        start: from ``begin``, or rows of one in any order and number.
        edits: in the start's block or later ones.
        logits_at: columns of ``tokens`` [B, Q], int64; none may be padding.

    Returns:
        Logits of the next token at these columns [B, Q, V], as ``engine.forward`` gives them with the same edits.

    Raises:
        UserError: a head that isn't there.
        ValueError: an edit of a block before the start.
    """
    if any(edit.block < start.block for edit in edits):
        raise ValueError(f"an edit before block {start.block}, in which the pass starts")
    ids, mask = tokens.ids.to(engine.device), tokens.mask.to(engine.device)
    rows = torch.arange(len(ids), device=engine.device)[:, None]
    everywhere = torch.arange(ids.shape[1], device=engine.device).expand(len(ids), -1)
    heads = start.heads.clone()
    for edit in edits:
        engine.refuse_missing_heads(edit)
        if edit.block == start.block:
            edit.write(heads)
    later = [edit for edit in edits if edit.block > start.block]
    # behind the last block's attention no token sees another; few are worth being picked out
    logits_at = logits_at.to(engine.device)
    few = 2 * logits_at.shape[1] <= ids.shape[1]
    with (
        mlp_at(engine.blocks[-1], rows, logits_at) if few else nullcontext(),
        starting_in(engine.blocks, start.block, start.stream, heads.flatten(-2), tuples=start.tuples),
        engine.heads_edited(rows, everywhere, later),
        engine.head_at(rows, logits_at),
    ):
        logits: Tensor = engine.model(**engine.arguments(ids, mask)).logits
    return logits
