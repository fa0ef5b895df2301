"""What an ablated head's output becomes: four kinds of ablation, as values that edits of heads take.

Khadka (2026, arXiv 2605.26343) sets ``hook_z`` of TransformerLens to zero. That library folds the bias of a head's
values into the output bias when it loads a model, so what is removed is what the head moves, and the bias stays.
In the Hugging Face model the bias passes through the head: there the same intervention sets the head to its bias.

``value_bias`` is that; where values have no bias it is ``zero``, Hugging Face's own head mask. ``mean`` is the head's
mean over reference rows, position by position; ``resample`` what it gives on one reference row for each.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from envs.head_ablation import Ablation
from jobs.inference.base import Engine, TokenBatch
from jobs.inference.blocks import value_bias
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.inference.starts import begin
from tdlens.errors import UserError

Values = Sequence[Tensor | None]
"""For each decoder block, what its heads become when ablated: can be broadcast to [B, T, H, d_head]; zeros if None."""


def ablated_values(engine: Engine, reference: Sequence[Sequence[int]], ablation: Ablation) -> Values:
    """What heads become when they are ablated.

    Args:
        engine: the model.
        reference: for ``mean`` and ``resample``, a row for each that is ablated, as long as it.
        ablation: how they are ablated.

    Raises:
        UserError: anything but zero with a model whose modules aren't in this process, or value biases of one that
            keeps them where they aren't known to be.
    """
    if ablation == "zero":
        return [None] * engine.n_blocks
    if ablation == "value_bias":
        return value_biases(local(engine))
    tokens = TokenBatch.from_rows(reference, pad_id=0, side="right")
    _, starts = begin(local(engine), tokens, logits_at=torch.zeros(len(reference), 1, dtype=torch.int64))
    heads = [start.heads for start in starts]
    return heads if ablation == "resample" else mean_values(heads, tokens.mask)


def value_biases(engine: HuggingFaceEngine) -> list[Tensor]:
    """For each decoder block, the bias of its heads' values [H, d_head].

    Raises:
        UserError: it isn't known where the model keeps them.
    """
    found = [value_bias(block, engine.n_heads, engine.d_head) for block in engine.blocks]
    biases = [bias.detach() for bias in found if bias is not None]
    if len(biases) < engine.n_blocks:
        raise UserError(
            f"Can't tell where {engine.describe().architecture} keeps the biases of its heads' values.",
            "Use ablation zero, or a model such as Llama, Qwen, GPT-2, GPT-NeoX or OPT.",
        )
    return biases


def mean_values(heads: Sequence[Tensor], mask: Tensor) -> list[Tensor]:
    """What heads gave on reference rows, averaged over the rows that have a token at that position.

    Args:
        heads: for each decoder block, what its heads gave [B, T, H, d_head].
        mask: True where there is a token [B, T].

    Returns:
        For each block [1, T, H, d_head].
    """
    present = mask[:, :, None, None].to(heads[0].device)
    number = present.sum(dim=0, keepdim=True).clamp(min=1)  # where no row has a token, nobody reads the mean
    return [
        (torch.where(present, z, 0).sum(dim=0, keepdim=True, dtype=torch.float64) / number).to(z.dtype) for z in heads
    ]


def local(engine: Engine) -> HuggingFaceEngine:
    """The engine, if its model's modules are in this process.

    Raises:
        UserError: they aren't.
    """
    if not isinstance(engine, HuggingFaceEngine):
        raise UserError(
            f"Heads are ablated to anything but zero, and attention is read, where the model is in one process; this "
            f"one runs on {engine.place}.",
            "Use --engine hf, or ablation zero.",
        )
    return engine
