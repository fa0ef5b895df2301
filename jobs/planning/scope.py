"""What a study asks for, in numbers: everything that the estimates have in common."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from envs import TASKS
from jobs.inference.play import texts_at_once
from jobs.inference.shapes import ModelShape
from jobs.planning.speed import dtype_size
from jobs.planning.texts import Texts
from jobs.planning.work import Passes, capture_passes, play_passes, read_passes
from jobs.study import Study
from sae.config import SAEConfig


@dataclass(frozen=True, eq=False)
class Scope:
    """A study, the sizes of its model, and the lengths of its texts."""

    study: Study
    shape: ModelShape
    texts: Texts

    @cached_property
    def blocks(self) -> tuple[int, ...]:
        """The captured blocks."""
        wanted = self.study.capture.blocks
        return tuple(range(1, self.shape.n_blocks + 1)) if wanted == "all" else wanted

    @property
    def rollouts(self) -> int:
        """Rollouts of each variant."""
        return self.study.task.rollouts

    @cached_property
    def all_rows(self) -> int:
        """Decisions of all variants: the rows of which each autoencoder is trained."""
        return len(self.study.task.variants) * self.rollouts * self.texts.n_decisions

    @property
    def untrained(self) -> bool:
        """Whether an untrained model reads the same texts."""
        return "untrained" in self.study.correlate.controls

    @property
    def dtype_bytes(self) -> int:
        """Bytes of a weight."""
        return dtype_size(self.study.model.dtype)

    @cached_property
    def autoencoders(self) -> list[SAEConfig]:
        """The autoencoders of a block."""
        return [section.autoencoder(self.shape.d_model) for section in self.study.sae]

    @cached_property
    def features(self) -> dict[str, int]:
        """Features of a block that are correlated, at most, by their source."""
        found = {section.name: sae.d_latents for section, sae in zip(self.study.sae, self.autoencoders, strict=True)}
        for control in self.study.correlate.controls:
            if control != "shuffled":
                found[control] = self.shape.d_model
            elif self.autoencoders:
                found[control] = self.autoencoders[0].d_latents
        return found

    @property
    def state_columns(self) -> int:
        """Columns of the signals that have one for every state."""
        task = TASKS[self.study.task.name]
        return len(self.study.signals.matrices(task)) * task.n_states

    @property
    def reads(self) -> bool:
        """Whether the model reads what another did, instead of playing."""
        return TASKS[self.study.task.name].teacher_forced

    def play(self, readers: int) -> Passes:
        """Passes in which one variant is played or, by ``readers`` ranks that read different texts, read."""
        if self.reads:
            return read_passes(self.texts, self.rollouts, self._texts_at_once(readers), captured=True)
        return play_passes(self.texts, self.rollouts, self.study.model.batch_size)

    def compare(self, readers: int) -> Passes:
        """Passes of all that is played or read for comparison only."""
        task = self.study.task
        found: Passes = []
        for n in (*[task.rollouts] * len(task.controls), *([task.further_rollouts] if task.further_rollouts else [])):
            if self.reads:
                found += read_passes(self.texts, n, self._texts_at_once(readers))
            else:
                found += play_passes(self.texts, n, self.study.model.batch_size)
        return found

    def reread(self, readers: int) -> Passes:
        """Passes in which an intervention reads the texts of one variant again, ``readers`` ranks different ones."""
        return read_passes(self.texts, self.rollouts, self._texts_at_once(readers))

    def harvest(self, readers: int) -> Passes:
        """Passes in which the untrained model reads the texts of one variant, ``readers`` ranks different ones."""
        return capture_passes(self.texts, self.rollouts, self._texts_at_once(readers), max(self.blocks))

    def _texts_at_once(self, readers: int) -> int:
        return texts_at_once(self.study.model.batch_size, readers)
