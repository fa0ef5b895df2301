"""What every stage is given: the study, the record, the models, and a way to report progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any, TypeVar, cast

from envs import TASKS, Task
from envs.game import Game
from jobs.inference.base import Engine, Network
from jobs.inference.files import ModelFiles, find_model
from jobs.inference.layout import Job
from jobs.inference.models import find_device, load_engine
from jobs.inference.progress import ProgressBars, shown_on
from jobs.names import with_names
from jobs.networks.player import Player, load_player
from jobs.networks.playing import SeenGame
from jobs.sections import SAESection
from jobs.stage import Unit
from jobs.study import Study
from jobs.training.trainers import Trainer, make_trainer, n_ranks
from tdlens.errors import UserError
from tdlens.record import Record

T = TypeVar("T")


class Context:
    """Shared by all units that one process computes; models are loaded once, when first needed."""

    def __init__(
        self,
        study: Study,
        record: Record,
        progress: ProgressBars,
        note: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.study = study
        self.record = record
        self.progress = shown_on(progress)
        """``with context.progress(description, total) as advance``: a bar for what runs now."""
        self._note = note
        self._job_ids: dict[str, int] = {}
        self._kept: dict[tuple[Any, ...], Any] = {}
        self._trainers: dict[int, Trainer] = {}

    @property
    def task(self) -> Task:
        """The registered task."""
        return TASKS[self.study.task.name]

    @cached_property
    def task_settings(self) -> dict[str, Any]:
        """The study's settings of the task, and the names in it if they depend on the model's tokenizer."""
        model = self.study.model.name
        if not self.task.words:
            return self.study.task.settings
        return with_names(self.task, self.study.task.settings, self.engine.tokenizer, model)

    def games(self, variant: str, seeds: Sequence[int] | None = None) -> list[Game]:
        """Fresh rollouts of a variant, one for each seed; of the study's if None."""
        config = self.task.config(variant=variant, **self.task_settings)
        return [self.task.rollout(config, seed) for seed in (self.rollout_seeds if seeds is None else seeds)]

    def seen_games(self, variant: str, seeds: Sequence[int] | None = None) -> list[SeenGame]:
        """The same, of a task that is seen as numbers."""
        return cast(list[SeenGame], self.games(variant, seeds))

    @cached_property
    def rollout_seeds(self) -> list[int]:
        """Seeds of the task instances: the same for every variant, model and intervention."""
        return self.seeds(self.study.task.rollouts)

    def seeds(self, n: int, first: int = 0) -> list[int]:
        """Seeds of ``n`` task instances, from the study's ``first`` on."""
        return [self.study.seed * 100_000 + index for index in range(first, first + n)]

    @cached_property
    def n_decisions(self) -> int:
        """Decisions in each rollout."""
        return self.games(self.study.task.variants[0], self.seeds(1))[0].n_decisions

    @cached_property
    def model_files(self) -> ModelFiles:
        """The files of the study's model, downloaded if need be."""
        return find_model(self.study.model.name, self.study.model.revision, progress=self.progress)

    @property
    def network(self) -> Network:
        """Whatever chooses the study's actions: the language model or, where the task is seen as numbers, the agent."""
        return self.engine if self.task.seen is None else self.player

    @property
    def untrained_network(self) -> Network:
        """The same architecture with fresh weights: what its wiring alone can represent."""
        return self.untrained_engine if self.task.seen is None else self.untrained_player

    @cached_property
    def model_config(self) -> dict[str, Any]:
        """The study's model, for the configuration of a unit."""
        return {"model": asdict(self.network.describe())}

    @property
    def model_source(self) -> str:
        """Where the model's weights come from, as the record keeps it."""
        return self.model_files.source if self.task.seen is None else self.player.source

    @cached_property
    def player(self) -> Player:
        """The study's agent."""
        return load_player(self.study.model, self.study.task.name, self.task)

    @cached_property
    def untrained_player(self) -> Player:
        """A network like it with fresh weights."""
        return self.player.untrained(self.study.seed)

    @cached_property
    def engine(self) -> Engine:
        """The study's language model."""
        return self._load("read" if self.task.teacher_forced else "play", None)

    @cached_property
    def untrained_engine(self) -> Engine:
        """The same language model with fresh weights."""
        return self._load("read", self.study.seed)

    def _load(self, job: Job, untrained_seed: int | None) -> Engine:
        model = self.study.model
        return load_engine(
            self.model_files,
            engine=model.engine,
            dtype=model.dtype,
            device=model.device,
            untrained_seed=untrained_seed,
            parallel=model.parallel.settings(),
            job=job,
            progress=self.progress,
            note=self._note,
        )

    def trainer(self, section: SAESection) -> Trainer:
        """What trains a section's autoencoders. Processes that hold a model on GPUs make room for it."""
        model = self.study.model
        device = find_device(model.device)
        if device.type == "cuda":
            for engine in self._engines():
                engine.close()
        n = n_ranks(section, model, device)
        if n not in self._trainers:
            self._trainers[n] = make_trainer(n, model, device)
        return self._trainers[n]

    def _engines(self) -> list[Engine]:
        """The models that were loaded."""
        return [self.__dict__[name] for name in ("engine", "untrained_engine") if name in self.__dict__]

    def close(self) -> None:
        """Let go of the models that were loaded; their processes end, and those that train."""
        for engine in self._engines():
            engine.close()
        for trainer in self._trainers.values():
            trainer.close()
        for name in ("engine", "untrained_engine"):
            self.__dict__.pop(name, None)
        self._trainers.clear()

    @property
    def blocks(self) -> tuple[int, ...]:
        """The captured blocks."""
        wanted, n = self.study.capture.blocks, self.network.n_blocks
        if wanted == "all":
            return tuple(range(1, n + 1))
        if self.task.seen is not None and not set(wanted) <= set(range(1, n + 1)):
            raise UserError(
                f"capture.blocks is {list(wanted)}, but {self.study.model.name} has {n} hidden layers, counted from 1.",
                "Name some of these, or: --set capture.blocks=all",
            )
        return wanted

    def remember(self, job_ids: Mapping[str, int]) -> None:
        """Note which job holds the rows of each unit, by its identity."""
        self._job_ids.update(job_ids)

    def job_id(self, unit: Unit) -> int:
        """The job that holds the rows of a finished unit."""
        return self._job_ids[unit.identity]

    def keep(self, make: Callable[[], T], *key: Any) -> T:
        """The value made under ``key``, made once: several units read the same rows."""
        if key not in self._kept:
            self._kept[key] = make()
        value: T = self._kept[key]
        return value
