"""Stages and units: what there is to compute, under which identity, and how a result comes into the record.

A study is planned as a list of *units* before anything runs. A unit is identified by its stage, its configuration and
its parents' identities, so the same configuration is never computed twice, in whichever study or revision it occurs.
Its rows become visible in one transaction that also marks its job done; a run that is killed leaves a job row in state
``leased`` until its lease has run out, at most some blobs without a row, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy.orm import Session

from tdlens.identity import digest

if TYPE_CHECKING:
    from jobs.context import Context

Publish = Callable[[Session, int], None]
"""``publish(session, job_id)`` inserts a unit's rows; it must not commit."""


@dataclass(frozen=True, eq=False)
class Unit:
    """The smallest piece of work that is done, recorded and resumed as a whole."""

    stage: str
    """Name of the stage that computes it."""
    key: str
    """What distinguishes it within its stage, for people: ``standard``, ``paper/block 3``."""
    config: Mapping[str, Any]
    """Everything that decides its result, beside its parents (JSON values)."""
    parents: tuple[Unit, ...] = ()
    """Units whose rows it reads."""
    seed: int = 0
    """Seed of its random choices."""
    version: int = 1
    """Raised when the stage's code changes what it computes from the same configuration."""

    @cached_property
    def identity(self) -> str:
        """sha256 that stands for the result."""
        return digest(
            {
                "stage": self.stage,
                "version": self.version,
                "key": self.key,
                "config": self.config,
                "seed": self.seed,
                "parents": sorted(parent.identity for parent in self.parents),
            }
        )

    def parents_of(self, stage: str) -> tuple[Unit, ...]:
        """The direct parents that belong to ``stage``, in plan order."""
        return tuple(parent for parent in self.parents if parent.stage == stage)


@dataclass
class Plan:
    """The units of a study in an order in which parents precede children."""

    units: list[Unit] = field(default_factory=list)

    def add(self, units: Iterable[Unit]) -> None:
        """Append a stage's units."""
        self.units.extend(units)

    def of(self, stage: str) -> list[Unit]:
        """The units of one stage."""
        return [unit for unit in self.units if unit.stage == stage]


class Stage(Protocol):
    """One kind of work: a module in ``jobs/stages`` with these four names, and a place in ``jobs.pipeline.STAGES``."""

    NAME: str
    DESCRIPTION: str

    def units(self, context: Context, plan: Plan) -> Iterable[Unit]:
        """What this stage has to do for the study, given the units of the stages before it."""

    def run(self, context: Context, unit: Unit) -> Publish:
        """Compute one unit: read the parents' rows, write blobs, return what inserts the rows."""
