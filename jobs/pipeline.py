"""The stages in their order, and a study's plan in the ledger."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import func, select

from envs import Task
from jobs.context import Context
from jobs.stage import Plan, Stage, Unit
from jobs.stages import (
    ablate,
    behaviour,
    bridge,
    compare,
    concepts,
    contrast,
    correlate,
    emotions,
    games,
    harvest,
    heads,
    intervene,
    pairs,
    planted,
    planted_axis,
    play,
    play_maze,
    population,
    probe,
    published,
    rank,
    represent,
    search,
    signals,
    splice,
    steer,
    td_parts,
    track,
    train_in_maze,
    train_policy,
    train_sae,
)
from tdlens.errors import UserError
from tdlens.provenance import provenance
from tdlens.record import Job, StudyJob, leases

OF_PLAY: tuple[Stage, ...] = (
    published,
    play,
    compare,
    games,
    signals,
    behaviour,
    harvest,
    train_sae,
    correlate,
    rank,
    td_parts,
    represent,
    intervene,
    splice,
    probe,
    population,
)
"""Those of tasks that a network plays or reads."""
OF_HEADS: tuple[Stage, ...] = (heads, ablate, pairs, train_policy, search, planted)
"""Those of tasks whose actions are a model's attention heads."""
OF_TRAINING: tuple[Stage, ...] = (
    train_in_maze,
    play_maze,
    concepts,
    emotions,
    track,
    steer,
    contrast,
    bridge,
    planted_axis,
)
"""Those of tasks in which the study trains the model."""
STAGES: tuple[Stage, ...] = (*OF_PLAY, *OF_HEADS, *OF_TRAINING)
"""In the order of the data; each module has NAME, DESCRIPTION, units and run."""


def stages_of(task: Task) -> tuple[Stage, ...]:
    """The stages that a task can have, in their order."""
    if task.heads:
        return OF_HEADS
    return OF_TRAINING if task.trained else OF_PLAY


def plan_study(context: Context) -> Plan:
    """All units of the study, parents first."""
    plan = Plan()
    for stage in stages_of(context.task):
        plan.add(stage.units(context, plan))
    return plan


@dataclass(frozen=True)
class Progress:
    """How many of a study's (or a stage's) units are in which state."""

    done: int = 0
    failed: int = 0
    leased: int = 0
    open: int = 0
    """Pending or lost: to be claimed, now or when their parents are done."""

    @property
    def total(self) -> int:
        return self.done + self.failed + self.leased + self.open


class Replanned(UserError):
    """Another version of tdlens, or of the model, has planned the study anew: this process doesn't know its units."""


class Work:
    """A study whose units are in the ledger: what a process claims from and computes."""

    def __init__(self, context: Context, plan: Plan, study_id: int) -> None:
        """Bring the ledger to hold the plan's units for the study."""
        self.context = context
        self.plan = plan
        self.study_id = study_id
        self.ranks_failed: Counter[int] = Counter()
        """How often the ranks that computed a job here have failed."""
        self._stages = {stage.NAME: stage for stage in STAGES}
        self._units = {unit.identity: unit for unit in self.plan.units}
        with context.record.session() as session:
            context.remember(leases.enqueue(session, study_id, [_planned(unit) for unit in self.plan.units]))

    def unit(self, claim: leases.Claim) -> Unit:
        """The unit that was claimed.

        Raises:
            Replanned: it isn't of this plan.
        """
        if claim.identity not in self._units:
            raise Replanned(
                f"Another tdlens, or another copy of the model, has planned {self.context.study.name} anew meanwhile.",
                "Use the same version and model on every machine, or run the study again with this one: tdlens run.",
            )
        return self._units[claim.identity]

    def stage(self, unit: Unit) -> Stage:
        """What computes a unit."""
        return self._stages[unit.stage]

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Columns of the jobs that this process claims."""
        return asdict(provenance(self.context.network.place))

    def progress(self) -> dict[str, Progress]:
        """Units by stage and state, of the stages that have any."""
        query = (
            select(Job.stage, Job.state, func.count())
            .join(StudyJob, StudyJob.job_id == Job.id)
            .where(StudyJob.study_id == self.study_id)
            .group_by(Job.stage, Job.state)
        )
        with self.context.record.session(read_only=True) as session:
            counts = {(stage, state): n for stage, state, n in session.execute(query)}
        return {
            stage.NAME: Progress(
                done=counts.get((stage.NAME, "done"), 0),
                failed=counts.get((stage.NAME, "failed"), 0),
                leased=counts.get((stage.NAME, "leased"), 0),
                open=counts.get((stage.NAME, "pending"), 0) + counts.get((stage.NAME, "lost"), 0),
            )
            for stage in STAGES
            if self.plan.of(stage.NAME)
        }


def _planned(unit: Unit) -> leases.Planned:
    parents = tuple(parent.identity for parent in unit.parents)
    return leases.Planned(unit.identity, unit.stage, unit.key, unit.config, unit.seed, parents)
