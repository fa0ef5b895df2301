"""Direct logit attribution: what each head itself writes towards a task's answer (Wang et al. 2023, arXiv 2211.00593).

A head's direct effect is the part of the task's metric that it writes into the residual stream at the last token, read
out through the final norm at the scale that the norm has there. What the head does through later blocks isn't in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from envs.circuit_tasks.prompts import Prompts
from jobs.circuits.ablation import value_biases
from jobs.circuits.scoring import padded, task_metric
from jobs.circuits.sweep import tokens_of_a_pass
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.inference.starts import begin
from tdlens.errors import UserError


def direct_effect(engine: HuggingFaceEngine, prompts: Prompts) -> NDArray[np.float64]:
    """Each head's own part in the task's metric, in nats, mean over rows [n_blocks, n_heads].

    It is what the head adds to the stream at the last token, its value bias apart, along the metric's gradient behind
    the final norm: with one right and one wrong answer the difference of their unembeddings.

    Raises:
        UserError: the model has no final norm that is known here.
    """
    total = torch.zeros(engine.n_blocks, engine.n_heads, dtype=torch.float64, device=engine.device)
    biases = value_biases(engine)
    n_rows = max(1, tokens_of_a_pass(engine.device) // max(len(row) for row in prompts.rows))
    for start in range(0, len(prompts.rows), n_rows):
        rows = torch.arange(start, min(start + n_rows, len(prompts.rows)), device=engine.device)
        ends = torch.tensor([len(prompts.rows[row]) - 1 for row in rows.tolist()], device=engine.device)
        _, starts = begin(engine, padded([prompts.rows[row] for row in rows.tolist()]), logits_at=ends[:, None])
        towards = towards_answer(engine, prompts, rows, ends)
        for index, bias in enumerate(biases):
            heads = starts[index].heads[torch.arange(len(ends), device=engine.device), ends]
            with torch.enable_grad():
                mixed = heads.flatten(-2).clone().requires_grad_()
                # the projection is linear: its gradient takes a direction of the stream back to the heads
                (back,) = torch.autograd.grad((engine.projection(index + 1)(mixed) * towards).sum(), mixed)
            total[index] += ((heads - bias).double() * back.view_as(heads).double()).sum(dim=(0, 2))
    effect: NDArray[np.float64] = (total / len(prompts.rows)).cpu().numpy()
    return effect


def towards_answer(engine: HuggingFaceEngine, prompts: Prompts, rows: Tensor, ends: Tensor) -> Tensor:
    """The direction of the stream before the final norm, its scale held, along which the metric rises [b, d].

    Args:
        engine: the model.
        prompts: of the task.
        rows: which of them [b].
        ends: each one's last column [b].

    Raises:
        UserError: see :func:`direct_effect`.
    """
    norm = final_norm(engine)
    tokens = padded([prompts.rows[row] for row in rows.tolist()])
    each = torch.arange(len(rows), device=engine.device)
    seen: list[Tensor] = []

    def begin_here(module: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
        seen.extend([args[0].detach(), output.detach().requires_grad_()])
        return seen[1]

    handle = norm.register_forward_hook(begin_here)
    try:
        with torch.enable_grad(), engine.head_at(each[:, None], ends[:, None]):
            arguments = engine.arguments(tokens.ids.to(engine.device), tokens.mask.to(engine.device))
            metric = task_metric(prompts)(engine.model(**arguments).logits, rows)
            (gradient,) = torch.autograd.grad(metric.sum(), seen[1])
    finally:
        handle.remove()
    before, after = seen[0][each, ends].float(), seen[1].detach()[each, ends].float()
    return _through_norm(norm, before, after, gradient[each, ends].float()).to(engine.dtype)


def final_norm(engine: HuggingFaceEngine) -> nn.Module:
    """The norm between the last decoder block and the LM head.

    Raises:
        UserError: there is none, or it can't be told which it is.
    """
    within = set(engine.blocks.modules())
    norms: list[nn.Module] = [
        module
        for module in engine.model.base_model.modules()
        if module not in within and type(module).__name__.endswith("Norm")
    ]
    if len(norms) != 1:
        raise _unknown(engine)
    return norms[0]


def _through_norm(norm: Any, before: Tensor, after: Tensor, gradient: Tensor) -> Tensor:
    """The gradient before a norm whose scale is held, from that behind it, all [b, d]."""
    centred = isinstance(norm, nn.LayerNorm)
    x = before - before.mean(-1, keepdim=True) if centred else before
    scale = (x.square().mean(-1, keepdim=True) + _epsilon(norm)).rsqrt()
    weight = norm.weight.detach().float()
    shift = norm.bias.detach().float() if centred and norm.bias is not None else 0
    if not torch.allclose(x * scale * weight + shift, after, rtol=1e-2, atol=1e-2 * float(after.abs().mean())):
        raise UserError(
            f"{type(norm).__name__} isn't a norm whose scale is known here.",
            "Use a model with LayerNorm or RMSNorm, such as Llama, Qwen, GPT-2, GPT-NeoX or OPT.",
        )
    back: Tensor = gradient * weight * scale
    return back - back.mean(-1, keepdim=True) if centred else back


def _epsilon(norm: Any) -> float:
    return float(next(getattr(norm, name) for name in ("eps", "variance_epsilon") if hasattr(norm, name)))


def _unknown(engine: HuggingFaceEngine) -> UserError:
    return UserError(
        f"Can't tell which module of {engine.describe().architecture} is the norm before its LM head.",
        "Use a model such as Llama, Qwen, GPT-2, GPT-NeoX or OPT.",
    )
