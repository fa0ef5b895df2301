"""Training one autoencoder in several processes at once, each on its part of every batch.

A loss is written once, as what a part of a batch adds to the whole batch's: see `Batch`. One process alone is the
case of one part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


class Replicas:
    """The processes that train one autoencoder together; of this class, one process alone."""

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of the rows: parts differ in length by at most one, and may be empty."""
        return rows

    def sum(self, *tensors: Tensor) -> None:
        """Sum each tensor over the processes, in place and outside the graph; equal to the bit on all of them."""

    def check_equal(self, tensors: Iterable[Tensor]) -> None:
        """Raise RuntimeError, on every process, unless all hold the same tensors, to the bit."""


class GroupReplicas(Replicas):
    """The processes of a torch.distributed group; its backend must suit the device that is trained on."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        """`group` is by default that of all processes, which must have been initialised."""
        self.group = group
        self.rank = dist.get_rank(group)
        self.size = dist.get_world_size(group)

    def share(self, rows: Tensor) -> Tensor:
        return rows.tensor_split(self.size)[self.rank]

    def sum(self, *tensors: Tensor) -> None:
        works = [dist.all_reduce(tensor, group=self.group, async_op=True) for tensor in tensors]
        for work in works:
            work.wait()

    def check_equal(self, tensors: Iterable[Tensor]) -> None:
        held = list(tensors)
        hashed = hashlib.sha256()
        for tensor in held:
            hashed.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        digest = torch.tensor(list(hashed.digest()), device=held[0].device)
        extremes = torch.stack([digest, -digest])
        dist.all_reduce(extremes, dist.ReduceOp.MAX, group=self.group)
        if not torch.equal(extremes[0], -extremes[1]):
            raise RuntimeError(f"the {self.size} processes that train one autoencoder hold different weights")


ALONE = Replicas()


@dataclass(frozen=True)
class Batch:
    """A batch of which each process holds a part."""

    n: int
    """Rows of all parts together."""
    replicas: Replicas = ALONE

    def mean(self, values: Tensor) -> Tensor:
        """What this part's values [b, ...] add to the mean over the batch: summed over the parts, it is the mean."""
        return values.sum() / (self.n * values.shape[1:].numel())

    def sum(self, values: Tensor) -> Tensor:
        """Sum of `values` over the parts, each of the same shape, without a gradient; overwrites them."""
        values = values.detach()
        self.replicas.sum(values)
        return values
