"""The program by which ranks run a model: one forward pass a message."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.inference.base import Edit, TokenBatch
from jobs.inference.offload import Offload
from jobs.inference.ranks.join import Rank
from jobs.inference.ranks.loading import load
from jobs.inference.ranks.packing import unpack
from jobs.inference.ranks.rank import Say


class ModelProgram:
    """Loads this rank's part of a model, and runs it on what it is sent.

    Under tensor parallelism every rank computes the whole residual stream: rank r brings block i to the host where
    i mod ranks = r, and a checksum of the last block says whether the streams were the same.
    """

    def __init__(self, rank: Rank, about: dict[str, Any], tensors: dict[str, Tensor], say: Say) -> None:
        self._rank = rank
        self._replicated = about["layout"] in ("tensor", "hf_tensor")
        dtype = getattr(torch, about["dtype"])
        self._engine = load(
            about["layout"], Path(about["folder"]), dtype, rank, offload=about["offload"], block=about["block"]
        )
        self._offload = Offload.of(rank.device)
        self._caches: dict[int, Any] = {}
        self._edits: dict[int, Edit] = {}
        self._checksum = 0
        self._last = -1

    def answer(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        for key in message["forget_caches"]:
            self._caches.pop(key, None)
        for key in message["forget_edits"]:
            self._edits.pop(key, None)
        for key, about in message["new_edits"].items():
            prefix = f"edit {key} "
            own = {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
            self._edits[int(key)] = unpack(about, own, self._rank.device)
        cache, wanted = message["cache"], message["capture"]
        if cache is not None and cache not in self._caches:
            self._caches[cache] = self._engine.new_cache()
        self._last = self._engine.n_blocks if message["logits"] or cache is not None or not wanted else max(wanted)
        brought: dict[str, Tensor] = {}
        result = self._engine.forward(
            TokenBatch(tensors["ids"], tensors["mask"]),
            positions=tensors["positions"],
            capture=sorted({*wanted, *([self._last] if self._replicated else [])}),
            edits=[self._edits[key] for key in message["edits"]],
            cache=None if cache is None else self._caches[cache],
            logits=message["logits"],
            choices=tensors.get("choices"),
            deliver=partial(self._deliver, wanted, brought),
        )
        self._offload.finish()
        if result.logits is not None and (self._rank.index == 0 or not self._replicated):
            brought["logits"] = result.logits
        return {"checksum": self._checksum}, brought

    def _mine(self, block: int) -> bool:
        return not self._replicated or block % self._rank.world == self._rank.index

    def _deliver(self, wanted: Sequence[int], brought: dict[str, Tensor], block: int, x: Tensor) -> None:
        if self._replicated and block == self._last:
            bits = {2: torch.int16, 4: torch.int32}[x.element_size()]
            self._checksum = int(x.contiguous().view(bits).sum(dtype=torch.int64))
        # on its way to the host while later blocks are computed; what others bring needn't be held
        if block in wanted and self._mine(block):
            brought[f"block {block}"] = self._offload.host(x)
