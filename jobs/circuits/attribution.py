"""Attribution patching: a first-order estimate of every head's score from one forward and one backward pass a batch.

What replacing a head's output z by a value v does to a metric m is estimated as (v - z) . dm/dz, summed over positions
(Nanda 2023; Syed et al. 2023, arXiv 2310.10348). All heads share the two passes; what ablation itself needs two for.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.circuit_tasks.prompts import Prompts
from envs.head_ablation import Ablation
from jobs.circuits.ablation import Values, local
from jobs.circuits.scoring import control_values, cross_entropy, padded, task_metric, task_values
from jobs.circuits.sweep import Measure, tokens_of_a_pass
from jobs.inference.base import Engine, TokenBatch
from jobs.inference.blocks import visiting
from jobs.inference.huggingface import HuggingFaceEngine


def attribution(
    engine: Engine,
    prompts: Prompts,
    control: Sequence[Sequence[int]],
    *,
    ablation: Ablation = "value_bias",
    weight: float = 1.0,
) -> NDArray[np.float64]:
    """The estimated score of every head [n_blocks * n_heads], in nats.

    Args:
        engine: the model; gradients are of its dtype.
        prompts: of the task.
        control: rows of ordinary text, all of one length, BOS first.
        ablation: see :class:`~jobs.circuits.scoring.HeadScorer`.
        weight: of the control damage.

    Raises:
        UserError: the model isn't in this process.
    """
    model = local(engine)
    ends = torch.tensor([[len(row) - 1] for row in prompts.rows])
    values = task_values(engine, prompts, ablation)
    change = first_order(model, padded(prompts.rows), ends, task_metric(prompts), values)

    text = padded(control)
    read_at = torch.arange(text.ids.shape[1] - 1).expand(len(control), -1)
    values = control_values(engine, control, ablation)
    surprise = first_order(model, text, read_at, cross_entropy(text.ids), values)
    return -change - weight * surprise


def first_order(
    engine: HuggingFaceEngine, tokens: TokenBatch, read_at: Tensor, measure: Measure, values: Values
) -> NDArray[np.float64]:
    """By how much a measure's mean over rows would change if each head became its value [n_blocks * n_heads].

    Args:
        engine: the model.
        tokens: rows, padded on the right.
        read_at: columns whose logits are measured [B, Q].
        measure: from the logits there.
        values: what ablated heads become.
    """
    total = torch.zeros(engine.n_blocks, engine.n_heads, dtype=torch.float64, device=engine.device)
    n_rows = max(1, tokens_of_a_pass(engine.device) // tokens.ids.shape[1])
    every = torch.arange(len(tokens.ids), device=engine.device)
    for start in range(0, len(every), n_rows):
        own = slice(start, start + n_rows)
        rows, part = every[own], TokenBatch(tokens.ids[own], tokens.mask[own])
        heads, gradients = _gradients(engine, part, read_at[own], measure, rows)
        for block, (z, gradient, value) in enumerate(zip(heads, gradients, values, strict=True)):
            if value is None or value.ndim == 2:
                there = torch.zeros_like(z) if value is None else value
            else:
                there = value if len(value) == 1 else value[own]
            total[block] += ((there - z).double() * gradient.double()).sum(dim=(0, 1, 3))
    return cast(NDArray[np.float64], (total / len(tokens.ids)).flatten().cpu().numpy())


def _gradients(
    engine: HuggingFaceEngine, tokens: TokenBatch, read_at: Tensor, measure: Measure, rows: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """What the heads of each block give [b, T, H, d_head], and the gradient of each row's measure there."""
    heads: list[Tensor] = []
    ids, mask = tokens.ids.to(engine.device), tokens.mask.to(engine.device)
    each = torch.arange(len(ids), device=engine.device)[:, None]
    with ExitStack() as hooks, torch.enable_grad():
        # gradients reach back to the embedding, and no further: weights get none
        hooks.enter_context(visiting(engine.blocks, {0: lambda x: x.detach().requires_grad_()}))
        hooks.enter_context(engine.head_at(each, read_at.to(engine.device)))
        for block in range(1, engine.n_blocks + 1):
            projection = engine.projection(block)
            handle = projection.register_forward_pre_hook(lambda _, args: heads.append(args[0]))
            hooks.callback(handle.remove)
        measured = measure(engine.model(**engine.arguments(ids, mask)).logits, rows)
        gradients = torch.autograd.grad(measured.sum(), heads)
    shape = (*ids.shape, engine.n_heads, engine.d_head)
    return [z.detach().view(shape) for z in heads], [gradient.view(shape) for gradient in gradients]
