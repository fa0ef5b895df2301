"""Codes of positions for models that are written by hand: waves, two numbers each, the slowest with the longest period.

No two positions have the same code if the context is no longer than that period, and neighbours' are unlike. What
turns a position's code into that of another at some distance is one matrix.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def position_codes(n_positions: int, n_waves: int) -> Tensor:
    """Codes of the first positions [n_positions, 2 * n_waves]; the longest period is ``2 ** n_waves``."""
    angles = torch.arange(n_positions)[:, None] * _frequencies(n_waves)
    return torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(1)


def shift(by: int, n_waves: int) -> Tensor:
    """What makes the code of a position that of the one ``by`` further on [2 * n_waves, 2 * n_waves]."""
    turn = torch.zeros(2 * n_waves, 2 * n_waves)
    angles = by * _frequencies(n_waves)
    cosine, sine = angles.cos(), angles.sin()
    even, odd = torch.arange(0, 2 * n_waves, 2), torch.arange(1, 2 * n_waves, 2)
    turn[even, even], turn[even, odd], turn[odd, even], turn[odd, odd] = cosine, sine, -sine, cosine
    return turn


def _frequencies(n_waves: int) -> Tensor:
    return math.pi / 2.0 ** torch.arange(n_waves)
