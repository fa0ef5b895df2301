"""Muon in single precision.

PyTorch's own orthogonalises in bfloat16, which a CPU without instructions for it does some ten times slower: most of a
small model's training time. This one takes all matrices of a shape at once, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.775, 2.0315)
"""Of the quintic iteration (Jordan et al. 2024), as in :class:`torch.optim.Muon`."""
ITERATIONS = 5
MOMENTUM = 0.95


class Muon(torch.optim.Optimizer):
    """Momentum, Nesterov's, orthogonalised; rates are scaled to AdamW's root mean square.

    Args:
        params: matrices.
        lr: rate.
        weight_decay: decoupled.
        adjust_lr_fn: only ``match_rms_adamw``; there to be called like :class:`torch.optim.Muon`.
    """

    def __init__(
        self, params: Sequence[Tensor], lr: float, weight_decay: float, adjust_lr_fn: str = "match_rms_adamw"
    ) -> None:
        if adjust_lr_fn != "match_rms_adamw":
            raise ValueError(f"rates are matched to AdamW's root mean square, not {adjust_lr_fn!r}")
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step; a matrix without a gradient stays."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append(matrix)
            for shape, matrices in alike.items():
                updates = orthogonal(torch.stack([self._momentum(matrix) for matrix in matrices]))
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                for matrix, update in zip(matrices, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)

    def _momentum(self, matrix: Tensor) -> Tensor:
        assert matrix.grad is not None
        state = self.state[matrix]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(matrix)
        mean: Tensor = state["momentum"].lerp_(matrix.grad, 1 - MOMENTUM)
        return matrix.grad.lerp(mean, MOMENTUM)


def orthogonal(matrices: Tensor) -> Tensor:
    """About the nearest orthogonal matrix of each [k, m, n], by Newton and Schulz's iteration."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
