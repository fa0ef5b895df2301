"""What plain Hugging Face says of a batch, and how far other readings lie from it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from jobs.inference.base import TokenBatch

Readings = dict[str, Tensor]
"""``block i``, 0 being the embedding: residual stream [B, P, d]; ``logits``: [B, P, V]. On the CPU."""


def prompts(vocabulary: int, rows: int, length: int, n_positions: int, *, mixed: bool) -> tuple[TokenBatch, Tensor]:
    """Random tokens and the columns [rows, n_positions] to look at; with ``mixed`` rows get shorter one by one."""
    generator = torch.Generator().manual_seed(1)
    texts = [
        torch.randint(vocabulary, (length - (3 * row if mixed else 0),), generator=generator).tolist()
        for row in range(rows)
    ]
    positions = torch.linspace(length // 8, length - 1, n_positions).long().expand(rows, -1)
    return TokenBatch.from_rows(texts, pad_id=0), positions


@torch.no_grad()
def bare_pass(model: Any, tokens: TokenBatch) -> Tensor:
    """Logits of every position, nothing else asked for."""
    ids, mask = tokens.ids.to(model.device), tokens.mask.long().to(model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits: Tensor = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    return logits


def read_plainly(model: Any, tokens: TokenBatch, positions: Tensor) -> Readings:
    """The residual stream of all blocks of a Llama, by PyTorch's own hooks, and the logits."""
    at = (torch.arange(len(positions), device=model.device)[:, None], positions.to(model.device))
    found: Readings = {}

    def keeping(name: str) -> Any:
        def hook(module: Any, args: Any, output: Tensor) -> None:
            found[name] = output[at].cpu()

        return hook

    with ExitStack() as hooks:
        for index, module in enumerate([model.model.embed_tokens, *model.model.layers]):
            hooks.callback(module.register_forward_hook(keeping(f"block {index}")).remove)
        logits = bare_pass(model, tokens)
    return found | {"logits": logits[at].cpu()}


def distances(found: Readings, expected: Readings) -> dict[str, float]:
    """Norm of the difference as a share of the expected norm, for each reading."""
    if found.keys() != expected.keys():
        raise ValueError(f"read {sorted(found)}, expected {sorted(expected)}")
    return {
        name: float((found[name].float() - expected[name].float()).norm() / expected[name].float().norm())
        for name in expected
    }
