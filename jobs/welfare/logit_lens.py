"""Which tokens a direction of the residual stream makes more likely, read straight from it (nostalgebraist 2020).

The unembedding is applied to the direction, the final norm's weights folded in: the norm's own scale, which depends on
the rest of the stream, is left out, and so is every bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jobs.circuits.direct_effect import final_norm
from jobs.inference.huggingface import HuggingFaceEngine

SHOWN = 20
"""Tokens at either end, as in the paper (D.4.2)."""
AT_ONCE = 1 << 14
"""Rows of the unembedding that are multiplied in float64 at a time."""


@dataclass(frozen=True)
class Read:
    """A token at one end of the vocabulary."""

    sign: int
    """1: made more likely; -1: less."""
    rank: int
    """From 1 on."""
    token: str
    logit: float


def read_block(n_blocks: int) -> int:
    """Where the paper reads its vectors: five sixths of the way, rounded down."""
    return 5 * n_blocks // 6


def lens(engine: HuggingFaceEngine, vector: Tensor) -> NDArray[np.float64]:
    """The logit of each token of the tokenizer along a direction, less their mean [V]; float64.

    Args:
        engine: whose unembedding and final norm are read.
        vector: the direction [d_model], of any norm but zero; its norm doesn't matter.

    Raises:
        UserError: it isn't known which module is the final norm.
    """
    norm = final_norm(engine)
    direction = vector.double().to(engine.device) / vector.double().norm()
    if isinstance(norm, nn.LayerNorm):
        direction = direction - direction.mean()
    direction = direction * _weight(norm, engine)
    unembedding: Tensor = engine.head.weight.detach()[: len(engine.tokenizer)]
    logits = torch.cat([rows.double() @ direction for rows in torch.split(unembedding, AT_ONCE)])
    found: NDArray[np.float64] = (logits - logits.mean()).cpu().numpy()
    return found


def ends(logits: NDArray[np.float64], tokenizer: Any, shown: int = SHOWN) -> list[Read]:
    """The tokens with the highest logits and those with the lowest, the most extreme first."""
    order = np.argsort(-logits, kind="stable")
    return [
        Read(sign, rank, token_text(tokenizer, token), float(logits[token]))
        for sign, some in ((1, order), (-1, order[::-1]))
        for rank, token in enumerate(some[: min(shown, len(order) // 2)].tolist(), start=1)
    ]


def token_text(tokenizer: Any, token: int) -> str:
    """What a token says or, where that can't be shown (parts of a character, line breaks), what it is called."""
    text: str = tokenizer.decode([token])
    if text and text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text:
        return text
    return str(tokenizer.convert_ids_to_tokens(token))


def _weight(norm: Any, engine: HuggingFaceEngine) -> Tensor:
    """What the norm multiplies each dimension by [d_model], float64.

    It is seen in what becomes of a stream of mean 0 and mean square 1, since some norms keep weights and others what is
    to be added to 1.
    """
    signs = 1 - 2 * (torch.arange(engine.d_model, dtype=torch.float64) % 2)
    signs -= signs.mean()
    stream = (signs / signs.square().mean().sqrt()).to(engine.device, engine.dtype)
    with torch.no_grad():
        shift, seen = (norm(x[None])[0].double() for x in (torch.zeros_like(stream), stream))
    weight: Tensor = (seen - shift) / stream.double()
    return weight
