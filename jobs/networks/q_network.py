"""A multilayer perceptron that gives the Q-value of every action, open at each of its hidden layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

N = TypeVar("N", bound="QNetwork")


class QNetwork(nn.Module):
    """Linear layers with a ReLU after each but the last, as in DuPlessie (2024): 75 → 128 → 128 → 24 for the rook.

    *Block* i is the output of the i-th hidden linear layer **before** its ReLU, counted from 1. Always float32.
    """

    def __init__(self, n_inputs: int, hidden: Sequence[int], n_actions: int) -> None:
        """Layers with torch's own initial weights, drawn from its global generator; :func:`untrained` takes a seed.

        Raises:
            ValueError: no hidden layer, or a size below 1.
        """
        super().__init__()
        sizes = (n_inputs, *hidden, n_actions)
        if len(sizes) < 3 or min(sizes) < 1:
            raise ValueError(f"a Q network needs hidden layers, and sizes of 1 or more; these are {sizes}")
        self.layers = nn.ModuleList(nn.Linear(n, m) for n, m in pairwise(sizes))
        self.n_inputs, self.n_actions = n_inputs, n_actions
        self.widths = tuple(hidden)

    @property
    def n_blocks(self) -> int:
        """Hidden layers."""
        return len(self.widths)

    def width(self, block: int) -> int:
        """Units of a block.

        Raises:
            ValueError: no such block.
        """
        self._refuse_unknown(block)
        return self.widths[block - 1]

    def q_values(self, x: Tensor) -> Tensor:
        """Q-values [n, actions] of observations [n, inputs], in the units of the rewards it was trained on."""
        return self.from_block(self.hidden(x, 1), 1)

    def hidden(self, x: Tensor, block: int) -> Tensor:
        """A block's pre-activations [n, width], from observations [n, inputs].

        Raises:
            ValueError: no such block.
        """
        self._refuse_unknown(block)
        h = cast(Tensor, self.layers[0](x))
        for layer in self.layers[1:block]:
            h = layer(F.relu(h))
        return h

    def from_block(self, h: Tensor, block: int) -> Tensor:
        """Q-values [n, actions] when a block's pre-activations are ``h`` [n, width]: its ReLU and all that follows.

        Raises:
            ValueError: no such block.
        """
        self._refuse_unknown(block)
        for layer in self.layers[block:]:
            h = layer(F.relu(h))
        return h

    def _refuse_unknown(self, block: int) -> None:
        if not 1 <= block <= self.n_blocks:
            raise ValueError(f"there is no block {block}: this network has blocks 1 to {self.n_blocks}")


def untrained(n_inputs: int, hidden: Sequence[int], n_actions: int, seed: int) -> QNetwork:
    """A network with fresh weights, drawn with ``seed``; the global generator stays as it was."""
    return fresh(QNetwork, n_inputs, hidden, n_actions, seed)


def fresh(kind: type[N], n_inputs: int, hidden: Sequence[int], n_actions: int, seed: int) -> N:
    """The same of any architecture."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(n_inputs, hidden, n_actions)
