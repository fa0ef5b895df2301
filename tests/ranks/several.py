"""Several models in one group of ranks, as starting ranks takes longer than anything they are asked here."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from jobs.inference.layout import Kind, Layout
from jobs.inference.ranks.engine import RankedEngine
from jobs.inference.ranks.group import GroupSettings, RankGroup, Reply
from jobs.inference.ranks.join import Rank
from jobs.inference.ranks.model import ModelProgram
from jobs.inference.ranks.rank import Say
from jobs.inference.ranks.wire import Payload
from tests.ranks.models import Saved

N = 2


class Several:
    """Loads models when told to, and passes messages on to the one that they name."""

    def __init__(self, rank: Rank, about: dict[str, Any], tensors: dict[str, Tensor], say: Say) -> None:
        self._load = lambda settings: ModelProgram(rank, settings, {}, say)
        self._rank = rank
        self._hook: Any = None
        self._models: dict[str, ModelProgram] = {}

    def answer(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        if "load" in message:
            self._models[message["model"]] = self._load(message["load"])
            return {}, {}
        if "inspect" in message:
            return self._about(self._models[message["model"]]), {}
        if "noise" in message:
            self._noise(self._models[message["model"]], message["noise"])
            return {}, {}
        return self._models[message["model"]].answer(message, tensors)

    def _about(self, model: ModelProgram) -> dict[str, Any]:
        """What the rank holds, and how it was set up."""
        deepspeed = sys.modules.get("deepspeed")
        return {
            "caches": len(model._caches),
            "edits": len(model._edits),
            "heads": [model._engine.first_head, model._engine.n_heads],
            "parameters": sum(p.numel() for p in model._engine.model.parameters()),
            "local_size": os.environ.get("LOCAL_SIZE"),
            "shared_memory": bool(deepspeed and deepspeed.ops.__compatible_ops__.get("deepspeed_shm_comm")),
        }

    def _noise(self, model: ModelProgram, on: bool) -> None:
        """Something random at a block's output, different on each rank, as an edit with a generator of its own is."""
        if self._hook is not None:
            self._hook.remove()
        noise = torch.Generator().manual_seed(self._rank.index)
        block = model._engine.blocks[1]
        self._hook = (
            block.register_forward_hook(lambda m, args, x: x + torch.randn(x.shape, generator=noise)) if on else None
        )


class Shared:
    """A group of ranks as the engine of one model sees it."""

    def __init__(self, group: RankGroup, model: str) -> None:
        self._group = group
        self._model = model
        self.alive = True

    def ask(self, messages: Sequence[Mapping[str, Any]], payloads: Sequence[Payload]) -> list[Reply]:
        return self._group.ask([{**message, "model": self._model} for message in messages], payloads)

    def close(self) -> None:
        self.alive = False


class Ranks:
    """Two CPU processes in one layout, and the engines of the models that they have loaded."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.settings = GroupSettings(N, "cpu", "torchrun", timeout=120)
        self.group = RankGroup("tests.ranks.several:Several", {}, self.settings, deepspeed=kind != "hf_tensor")
        self._engines: dict[str, RankedEngine] = {}

    def engine(self, saved: Saved) -> RankedEngine:
        """The engine of a saved model."""
        name = saved.folder.name
        if name not in self._engines:
            layout = Layout(self.kind, N, "none", 0, 0, "")
            engine = RankedEngine(
                saved.folder,
                saved.config,
                saved.plain.tokenizer,
                saved.plain.describe(),
                layout,
                self.settings,
                offload={},
                block=30_000,
            )
            message = {"model": name, "load": engine.about}
            self.group.ask([message] * N, [Payload.of({})] * N)
            engine._group = Shared(self.group, name)  # type: ignore[assignment]
            self._engines[name] = engine
        return self._engines[name]

    def tell(self, saved: Saved, **message: Any) -> list[dict[str, Any]]:
        """Ask the ranks something about a model beside forward passes."""
        told = {"model": saved.folder.name, **message}
        return [reply for reply, _ in self.group.ask([told] * N, [Payload.of({})] * N)]
