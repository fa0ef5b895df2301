"""A convolutional Q network that sees a screen, open at each of its hidden linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from jobs.networks.q_network import QNetwork

SCREEN = (3, 210, 160)
"""Colours, rows, columns of an observation."""
N_FEATURES = 960
"""What the convolutions make of one: 64 channels of 5 × 3."""
AT_ONCE = 256
"""Screens that the convolutions take at a time: one's first layer alone is half a megabyte."""


class ConvNetwork(QNetwork):
    """Three convolutions, then linear layers, as in DuPlessie (2024): 960 → 512 → 512 → 9 for Ms. Pac-Man.

    Screens go in as they are, 0 to 255. *Block* i is the output of the i-th hidden linear layer **before** its ReLU, as
    in every other network here, so that an autoencoder's reconstruction passes through that ReLU. The source takes the
    output of the first linear layer after it.
    """

    def __init__(self, n_inputs: int, hidden: Sequence[int], n_actions: int) -> None:
        """Layers with torch's own initial weights, drawn from its global generator.

        Raises:
            ValueError: ``n_inputs`` isn't a screen's, no hidden layer, or a size below 1.
        """
        if n_inputs != prod(SCREEN):
            raise ValueError(f"a convolutional network sees screens of {prod(SCREEN)} numbers, not {n_inputs}")
        super().__init__(N_FEATURES, hidden, n_actions)
        self.n_inputs = n_inputs
        self.convolutions = convolutions()

    def hidden(self, x: Tensor, block: int) -> Tensor:
        """A block's pre-activations [n, width], from screens [n, 3, 210, 160] of any number type.

        Raises:
            ValueError: no such block.
        """
        self._refuse_unknown(block)
        return super().hidden(torch.cat([self.convolutions(some.float()) for some in torch.split(x, AT_ONCE)]), block)


def convolutions() -> nn.Sequential:
    """From screens [n, 3, 210, 160] to features [n, 960], none below 0."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 9, stride=2),  # 16 × 101 × 76
        nn.ReLU(),
        nn.MaxPool2d(2),  # 16 × 50 × 38
        nn.Conv2d(16, 32, 9, stride=3),  # 32 × 14 × 10
        nn.ReLU(),
        nn.Conv2d(32, 64, 6, stride=2),  # 64 × 5 × 3
        nn.ReLU(),
        nn.Flatten(),
    )
