"""Several models in one group of ranks, as starting ranks takes longer than anything they are asked here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
        self._models: dict[str, ModelProgram] = {}

    def answer(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        if "load" in message:
            self._models[message["model"]] = self._load(message["load"])
            return {}, {}
        return self._models[message["model"]].answer(message, tensors)


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
                saved.folder, saved.config, saved.plain.tokenizer, saved.plain.describe(), layout, self.settings
            )
            message = {"model": name, "load": engine.about}
            self.group.ask([message] * N, [Payload.of({})] * N)
            engine._group = Shared(self.group, name)  # type: ignore[assignment]
            self._engines[name] = engine
        return self._engines[name]
