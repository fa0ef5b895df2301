"""Linear maps by oneDNN, which is in torch and isn't what it multiplies float32 matrices with by itself.

MKL, which is, takes about twice as long on AMD's processors (``benchmarks/head_sweep.py``). Numbers differ by rounding,
if at all.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


def use_onednn(model: nn.Module) -> None:
    """Let the linear maps of a model in float32 on a CPU be computed by oneDNN, for good, and without gradients.

    Where this torch has no oneDNN nothing is changed.
    """
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return
    for module in model.modules():
        # subclasses do more, and so does a module of which somebody has replaced the forward
        if type(module) in (nn.Linear, Conv1D) and "forward" not in vars(module):
            weight: Any = module.weight
            if weight.dtype == torch.float32 and weight.device.type == "cpu":
                module.forward = partial(_linear, module)


def _linear(module: Any, x: Tensor) -> Tensor:
    weight = module.weight if isinstance(module, nn.Linear) else module.weight.T
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, module.bias, "none", [], "")
    return product
