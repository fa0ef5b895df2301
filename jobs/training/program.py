"""The program by which ranks train autoencoders together: one a message."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from jobs.inference.ranks.join import Rank
from jobs.inference.ranks.rank import Say
from sae.autoencoder import Autoencoder
from sae.config import SAEConfig
from sae.metrics import evaluate
from sae.replicas import GroupReplicas
from sae.training import TrainingConfig, train
from tdlens.errors import UserError

CHUNK = 8192
"""Rows that are measured at once."""
SHARE = 0.25
"""Share of a GPU's free memory that activations may take; more of them stay in main memory."""


class TrainingProgram:
    """Trains on its part of every batch; the first rank says how far they are, measures, and brings the weights."""

    def __init__(self, rank: Rank, about: dict[str, Any], tensors: dict[str, Tensor], say: Say) -> None:
        self._rank = rank
        self._say = say
        self._replicas = GroupReplicas()

    def answer(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        try:
            return self._train(message, near(tensors["x"], self._rank.device))
        except ValueError as error:
            raise UserError(f"{error}.", "Change the study's [[sae]] section, or what it is trained on.") from error
        finally:
            torch.cuda.empty_cache()  # the ranks stay, and the language model wants the room

    def _train(self, message: dict[str, Any], x: Tensor) -> tuple[dict[str, Any], dict[str, Tensor]]:
        first = self._rank.index == 0
        sae, history = train(
            SAEConfig.from_dict(message["autoencoder"]),
            TrainingConfig(**message["training"]),
            x,
            seed=message["seed"],
            device=self._rank.device,
            replicas=self._replicas,
            on_step=(lambda step, n_steps: self._say({"step": step})) if first else None,
        )
        if not first:
            return {"trained": True}, {}
        told = {"history": history, "metrics": measured(sae, x)}
        return told, dict(sae.cpu().state_dict())


def near(x: Tensor, device: torch.device) -> Tensor:
    """Activations on the device if that has ample room, else where they are: training then moves each batch."""
    ample = device.type != "cuda" or x.nbytes <= SHARE * torch.cuda.mem_get_info(device)[0]
    return x.to(device) if ample else x


def measured(sae: Autoencoder, x: Tensor) -> dict[str, float]:
    """The metrics that are single numbers, over all rows of x [N, d]."""
    return evaluate(sae, (rows.to(sae.mean.device) for rows in torch.split(x, CHUNK))).scalars()
