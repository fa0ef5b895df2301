"""The registry of architectures: one file and one line each."""

from __future__ import annotations

import torch

from sae.architectures.relu import ReLUAutoencoder
from sae.architectures.topk import TopKAutoencoder
from sae.autoencoder import Autoencoder
from sae.config import SAEConfig, did_you_mean

ARCHITECTURES: dict[str, type[Autoencoder]] = {
    "relu": ReLUAutoencoder,
    "topk": TopKAutoencoder,
}


def check(config: SAEConfig) -> type[Autoencoder]:
    """The class of `config`. Raises ValueError for an unknown architecture or options that do not fit it."""
    name = config.architecture
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown autoencoder architecture {name!r}{did_you_mean(name, ARCHITECTURES)}")
    ARCHITECTURES[name].check(config)
    return ARCHITECTURES[name]


def build(config: SAEConfig, generator: torch.Generator) -> Autoencoder:
    """An untrained autoencoder on the CPU, its weights drawn from `generator`."""
    return check(config)(config, generator)
