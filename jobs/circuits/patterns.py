"""How much each attention head attends to each token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from jobs.circuits.ablation import local
from jobs.inference.base import Engine, TokenBatch
from jobs.inference.blocks import attention
from jobs.inference.huggingface import HuggingFaceEngine, refuse_overlong


@torch.no_grad()
def attention_patterns(engine: Engine, tokens: TokenBatch) -> Tensor:
    """Attention from each token to each other, [B, n_blocks, n_heads, T, T]: from the second last index to the last.

    From padding it means nothing.

    Raises:
        UserError: the model isn't in this process, it isn't known where its attention is, or the text is too long.
    """
    model = local(engine)
    found: list[Tensor] = []
    with ExitStack() as hooks, _step_by_step(model):
        for block in range(1, model.n_blocks + 1):
            model.projection(block)  # refuses what isn't known
            module = attention(model.blocks[block - 1])
            assert module is not None
            handle = module[0].register_forward_hook(lambda _, args, output: found.append(output[1]))
            hooks.callback(handle.remove)
        refuse_overlong(model.config, int(tokens.mask.sum(dim=1).max()))
        model.model.base_model(**model.arguments(tokens.ids.to(model.device), tokens.mask.to(model.device)))
    return torch.stack(found, dim=1)


@contextmanager
def _step_by_step(engine: HuggingFaceEngine) -> Iterator[None]:
    """Within the context attention is computed so that its weights can be seen; fused kernels never form them."""
    before = engine.config._attn_implementation
    engine.model.set_attn_implementation("eager")
    try:
        yield
    finally:
        engine.model.set_attn_implementation(before)
