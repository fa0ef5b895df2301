"""The autoencoders that are trained."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from jobs.sections.base import Section
from sae.architectures import check
from sae.config import SAEConfig
from sae.training import TrainingConfig


class SAESection(Section):
    """One autoencoder per block on the decision tokens of all variants."""

    name: str
    """How the study, the views and the report call it."""
    architecture: str = "relu"
    """A registered architecture."""
    expansion: float = Field(2.0, gt=0)
    """Latents per residual dimension."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The architecture's own settings, see ``sae.config.SAEConfig`` (relu: l1, l1_squared, …; topk: k, …)."""
    lr: float = Field(1e-4, gt=0)
    """Adam's learning rate."""
    batch_size: int = Field(256, ge=1)
    """Vectors a step."""
    epochs: int = Field(30, ge=1)
    """Passes over the vectors."""
    ranks: int | None = Field(None, ge=1)
    """Processes that share every batch, one a GPU; left out, as many of the GPUs that ``--engine deepspeed`` takes as
    get 256 vectors of each batch: with fewer, summing the gradients takes longer than it saves."""

    @model_validator(mode="after")
    def _known(self) -> SAESection:
        for option in ("architecture", "d_in", "d_latents"):
            if option in self.options:
                raise ValueError(
                    f"{option} is not among the options: it follows from architecture, expansion and model"
                )
        check(self.autoencoder(d_in=1024))
        return self

    def autoencoder(self, d_in: int) -> SAEConfig:
        """The autoencoder of a residual stream ``d_in`` wide."""
        sizes = {"architecture": self.architecture, "d_in": d_in, "d_latents": round(self.expansion * d_in)}
        return SAEConfig.from_dict({**self.options, **sizes})

    def training(self) -> TrainingConfig:
        """How it is trained."""
        return TrainingConfig(self.lr, self.batch_size, self.epochs)
