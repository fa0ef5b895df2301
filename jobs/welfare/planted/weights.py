"""Write a GPT-2 by hand: named parts of the residual stream, one attention head and one linear map a block.

As in :mod:`jobs.circuits.planted.writing`, every number is stored twice with opposite signs, so that the mean is zero,
and a constant is so large that the layer norms leave the rest as it is. The named parts are turned by a random
rotation, so that nothing lies along an axis of the stream. An MLP is linear: two neurons of opposite signs add up to
that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from jobs.inference.fingerprint import hash_weights
from jobs.inference.huggingface import HuggingFaceEngine

CONSTANT = 100.0
CONTEXT, WAVES = 1024, 10
"""Positions, and waves of a position's code, two numbers each: the period of the slowest is the context."""


class Layout:
    """Where each named part lies in the stream, each number counted once.

    Args:
        widths: of each part.
        generator: draws the rotation.
    """

    def __init__(self, widths: Mapping[str, int], generator: torch.Generator) -> None:
        self.widths = dict(widths)
        self.size = sum(widths.values())
        self.rotation, _ = torch.linalg.qr(torch.randn(self.size, self.size, generator=generator))

    def place(self, part: str) -> slice:
        """Of a part."""
        names = list(self.widths)
        start = sum(self.widths[name] for name in names[: names.index(part)])
        return slice(start, start + self.widths[part])

    def rows(self, n: int, parts: Mapping[str, Tensor]) -> Tensor:
        """Rows that hold these parts and else nothing: {part: [n, width]} to [n, size]."""
        found = torch.zeros(n, self.size)
        for part, values in parts.items():
            found[:, self.place(part)] = values.float()
        return found

    def twice(self, rows: Tensor) -> Tensor:
        """As the stream holds it: [n, size] to [n, 2 * size]."""
        turned = rows @ self.rotation
        return torch.cat([turned, -turned], dim=1)


@dataclass(frozen=True, eq=False)
class Head:
    """The head of a block; each map says for parts of the stream which numbers of the head they become."""

    query: Mapping[str, tuple[int, Tensor]]
    """Part to (the first of the head's numbers, [width, k]); scores aren't divided by anything."""
    key: Mapping[str, tuple[int, Tensor]]
    moved: tuple[str, str]
    """The part that is read where it looks, and the one that it is written to, equally wide."""


@dataclass(frozen=True, eq=False)
class Block:
    """A block: attention, then an MLP."""

    head: Head | None = None
    linear: Mapping[tuple[str, str], Tensor] = field(default_factory=dict)
    """What the MLP adds: (part read, part written) to [width read, width written]."""


def written(
    layout: Layout,
    tokenizer: PreTrainedTokenizerFast,
    tokens: Mapping[str, Tensor],
    positions: Mapping[str, Tensor],
    blocks: Sequence[Block],
    unembedding: Mapping[str, Tensor],
) -> HuggingFaceEngine:
    """A GPT-2 of these parts.

    Args:
        layout: of the stream; it has a part ``constant`` of one number, which this function fills.
        tokenizer: has a token for its end.
        tokens: what each token writes, {part: [V, width]}.
        positions: what each position writes, {part: [CONTEXT, width]}.
        blocks: the decoder blocks.
        unembedding: each token's logit for one unit of a part, {part: [V, width]}.
    """
    vocabulary, width = len(tokenizer), 2 * layout.size
    n_inner = max([2 * sum(how.shape[0] for how in block.linear.values()) for block in blocks] + [1])
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=CONTEXT,
        n_embd=width,
        n_layer=len(blocks),
        n_head=1,
        n_inner=n_inner,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):  # its own initialisation, all of it written over, draws random numbers
        model = GPT2LMHeadModel(config)
    constant = torch.full((vocabulary, 1), CONSTANT)
    # every token writes its constant and its position; sqrt(half the width) makes a norm a standard deviation
    scale = math.sqrt((CONSTANT**2 + WAVES) / layout.size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.transformer.wte.weight.copy_(layout.twice(layout.rows(vocabulary, {**tokens, "constant": constant})))
        model.transformer.wpe.weight.copy_(layout.twice(layout.rows(CONTEXT, positions)))
        model.lm_head.weight.copy_(layout.twice(layout.rows(vocabulary, unembedding)) / 2)
        model.transformer.ln_f.weight.fill_(scale)
        for module, block in zip(model.transformer.h, blocks, strict=True):
            module.ln_1.weight.fill_(scale)
            module.ln_2.weight.fill_(scale)
            if block.head is not None:
                _write_head(module.attn, block.head, layout)
            _write_linear(module.mlp, block.linear, layout)
    return HuggingFaceEngine(model, tokenizer, hash_weights(config.to_json_string(), model))


def _write_head(attention: Any, head: Head, layout: Layout) -> None:
    width = 2 * layout.size
    source, target = head.moved
    n = layout.widths[source]
    maps = []
    for reads in (head.query, head.key, {source: (0, torch.eye(n))}):
        rows = torch.zeros(width, layout.size)
        for part, (first, how) in reads.items():
            rows[first : first + how.shape[1], layout.place(part)] = how.T
        maps.append(layout.twice(rows).T / 2)
    maps[0] *= math.sqrt(width)  # by which GPT-2 divides
    attention.c_attn.weight.copy_(torch.cat(maps, dim=1))
    attention.c_proj.weight[:n].copy_(layout.twice(layout.rows(n, {target: torch.eye(n)})))


def _write_linear(mlp: Any, linear: Mapping[tuple[str, str], Tensor], layout: Layout) -> None:
    first = 0
    for (source, target), how in linear.items():
        n = how.shape[0]
        reads = layout.twice(layout.rows(n, {source: torch.eye(n)})) / 2
        writes = layout.twice(layout.rows(n, {target: how}))
        for sign in (1, -1):  # gelu(x) - gelu(-x) = x
            mlp.c_fc.weight[:, first : first + n].copy_(sign * reads.T)
            mlp.c_proj.weight[first : first + n].copy_(sign * writes)
            first += n
