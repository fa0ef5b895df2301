"""A program whose ranks do what goes wrong in real ones."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from jobs.inference.ranks.join import Rank
from jobs.inference.ranks.rank import Say


class Faulty:
    """Rank 1 misbehaves as the message says; the others wait for it in a collective."""

    def __init__(self, rank: Rank, about: dict[str, Any], tensors: dict[str, Tensor], say: Say) -> None:
        self._rank = rank

    def answer(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        if self._rank.index == 1:
            match message["do"]:
                case "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "hang":
                    time.sleep(3600)
                case "memory":
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        dist.barrier()
        return {"rank": self._rank.index}, {"twice": 2 * tensors["x"]}
