"""What is put in the place of a layer's output, before its ReLU; whatever isn't of single latents."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sae.autoencoder import Autoencoder


@dataclass(frozen=True, eq=False)
class Splice:
    """An autoencoder's reconstruction."""

    block: int
    sae: Autoencoder

    def __call__(self, x: Tensor) -> Tensor:
        return self.sae(x)  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Constant:
    """The same for every state: the layer's mean, or zero."""

    block: int
    value: Tensor
    """[d]"""

    def __call__(self, x: Tensor) -> Tensor:
        return self.value.expand_as(x)
