"""The engine whose model runs on ranks: it deals out each forward pass, and gathers what comes back."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.inference.base import Deliver, Edit, Forward, HeadEdit, ModelDescription, TokenBatch
from jobs.inference.huggingface import refuse_missing_blocks, refuse_overlong
from jobs.inference.layout import Layout
from jobs.inference.ranks.group import GroupSettings, RankGroup, RanksFailed, Reply
from jobs.inference.ranks.packing import pack
from jobs.inference.ranks.wire import Payload

PROGRAM = "jobs.inference.ranks.model:ModelProgram"


@dataclass(eq=False)
class Cache:
    """A cache on the ranks: its number there, and what fills it."""

    key: int
    lengths: Tensor | None = None
    """Tokens of each row seen so far [B]."""
    group: RankGroup | None = None
    """The ranks that hold it."""


class RankedEngine:
    """A causal language model on several processes, behind the :class:`~jobs.inference.base.Engine` interface.

    The ranks start with the first forward pass and hold the model from then on. With ZeRO-3 the rows of a batch are
    dealt out over them; a rank for which none is left computes the first row again, as all ranks must take part in
    every pass. With tensor parallelism all ranks read the same rows.

    Args:
        folder: configuration and weights.
        config: the model's configuration.
        tokenizer: the model's fast tokenizer.
        description: what the record keeps of it.
        layout: how it is shared out.
        settings: how ranks are started.
        offload: ZeRO-3: ``offload_param`` of DeepSpeed's configuration; empty for none.
        block: parameters of the largest decoder block.
    """

    def __init__(
        self,
        folder: Path,
        config: Any,
        tokenizer: Any,
        description: ModelDescription,
        layout: Layout,
        settings: GroupSettings,
        *,
        offload: dict[str, Any],
        block: int,
    ) -> None:
        self.tokenizer = tokenizer
        self.layout = layout
        self.n_blocks, self.d_model = description.n_blocks, description.d_model
        self.dtype: torch.dtype = getattr(torch, description.dtype)
        self.device = torch.device("cpu")
        self.place = f"{settings.n} x {settings.device}, deepspeed {layout.kind}"
        self.readers = layout.readers
        self._config = config.get_text_config()
        self.n_heads = int(self._config.num_attention_heads)
        self._description = description
        self._settings = settings
        self.about = {
            "layout": layout.kind,
            "folder": str(folder.absolute()),
            "dtype": description.dtype,
            "offload": offload,
            "block": block,
        }
        self._replicated = layout.kind in ("tensor", "hf_tensor")
        self._group: RankGroup | None = None
        self._keys = itertools.count()
        self._edits: weakref.WeakKeyDictionary[Edit, int] = weakref.WeakKeyDictionary()
        self._forgotten: dict[str, list[int]] = {"forget_caches": [], "forget_edits": []}

    def describe(self) -> ModelDescription:
        return self._description

    def new_cache(self) -> Cache:
        cache = Cache(next(self._keys))
        weakref.finalize(cache, self._forgotten["forget_caches"].append, cache.key)
        return cache

    def forward(
        self,
        tokens: TokenBatch,
        *,
        positions: Tensor,
        capture: Sequence[int] = (),
        edits: Sequence[Edit] = (),
        cache: Cache | None = None,
        logits: bool = True,
        choices: Tensor | None = None,
        deliver: Deliver | None = None,
    ) -> Forward:
        refuse_missing_blocks(self.n_blocks, [*capture, *(e.block for e in edits if not isinstance(e, HeadEdit))])
        lengths = tokens.mask.sum(1) + (0 if cache is None or cache.lengths is None else cache.lengths)
        refuse_overlong(self._config, int(lengths.max()))
        group = self._running()
        if cache is not None:
            if cache.group not in (None, group):
                raise RanksFailed("The ranks that held this cache are gone.", "Begin again with a new cache.")
            cache.lengths, cache.group = lengths, group
        new_edits, edit_tensors = self._new(edits)
        message = {
            "capture": list(capture),
            "edits": [self._edits[edit] for edit in edits],
            "new_edits": new_edits,
            "cache": None if cache is None else cache.key,
            "logits": logits,
            **{name: keys[:] for name, keys in self._forgotten.items()},
        }
        for keys in self._forgotten.values():
            keys.clear()
        batch = {"ids": tokens.ids, "mask": tokens.mask, "positions": positions}
        if choices is not None:
            batch["choices"] = choices
        replies = group.ask([message] * self._settings.n, self._payloads(batch, edit_tensors))
        self._refuse_divergence(replies)
        found = self._gathered(replies, len(tokens.ids), capture, logits)
        if deliver is not None:
            for block in list(found.activations):
                deliver(block, found.activations.pop(block))
        return found

    def close(self) -> None:
        """End the ranks; another forward pass starts new ones."""
        if self._group is not None:
            self._group.close()
            self._group = None

    def _running(self) -> RankGroup:
        if self._group is None or not self._group.alive:
            self._edits.clear()
            layout = self.layout.kind
            self._group = RankGroup(PROGRAM, self.about, self._settings, deepspeed=layout in ("zero3", "tensor"))
        return self._group

    def _new(self, edits: Sequence[Edit]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Edits that the ranks don't know yet, as data."""
        fresh: dict[str, Any] = {}
        tensors: dict[str, Tensor] = {}
        # all are packed before any is noted as known: one that can't be must not leave the others half sent
        for edit, (about, own) in [(edit, pack(edit)) for edit in dict.fromkeys(edits) if edit not in self._edits]:
            key = next(self._keys)
            fresh[str(key)] = about
            tensors |= {f"edit {key} {name}": tensor for name, tensor in own.items()}
            self._edits[edit] = key
            weakref.finalize(edit, self._forgotten["forget_edits"].append, key)
        return fresh, tensors

    def _payloads(self, batch: dict[str, Tensor], shared: dict[str, Tensor]) -> list[Payload]:
        if self._replicated:
            return [Payload.of(batch | shared)] * self._settings.n
        payloads = []
        for rows in dealt(len(batch["ids"]), self._settings.n):
            chosen = rows or range(1)
            own = {name: tensor[chosen.start : chosen.stop] for name, tensor in batch.items()}
            payloads.append(Payload.of(own | shared))
        return payloads

    def _refuse_divergence(self, replies: Sequence[Reply]) -> None:
        if self._replicated and len({message["checksum"] for message, _ in replies}) > 1:
            self.close()
            raise RanksFailed(
                "The residual stream isn't the same on all ranks: what they computed is worthless.",
                "Use --set model.parallel.layout=zero3, and report this with the model's name.",
            )

    def _gathered(self, replies: Sequence[Reply], n_rows: int, capture: Sequence[int], logits: bool) -> Forward:
        names = [f"block {block}" for block in capture]
        if self._replicated:
            found = {name: tensor for _, tensors in replies for name, tensor in tensors.items()}
        else:
            held = [tensors for rows, (_, tensors) in zip(dealt(n_rows, len(replies)), replies, strict=True) if rows]
            found = {name: _joined([tensors[name] for tensors in held]) for name in held[0]}
        activations = {block: found[name] for block, name in zip(capture, names, strict=True)}
        return Forward(found["logits"] if logits else None, activations)


def dealt(n_rows: int, n_ranks: int) -> list[range]:
    """Which rows each rank computes: neighbours stay together, and no rank has more than one row more than another."""
    edges = [n_rows * rank // n_ranks for rank in range(n_ranks + 1)]
    return [range(start, stop) for start, stop in itertools.pairwise(edges)]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
