"""Which studies a worker computes, and in which order: what runs in its computing process."""

from __future__ import annotations

import time
from functools import partial

from sqlalchemy import exists, or_, select

from jobs.context import Context
from jobs.inference.progress import ProgressBars
from jobs.pipeline import Replanned, Work, plan_study
from jobs.stage import Plan
from jobs.study import validate
from jobs.worker.assignment import Assignment
from jobs.worker.loop import Stopped, Watch, drain
from jobs.worker.patience import patiently
from tdlens.errors import UserError
from tdlens.record import Job, Record, Study, StudyJob, leases

POLL = 2.0
"""Seconds between two looks for new work."""
SHUN = 300.0
"""Seconds for which a study that can't be served here (its model isn't on this machine, say) is left to others."""


class Server:
    """Serves studies one after the other; a study's plan and model are kept while it is served."""

    def __init__(self, record: Record, assignment: Assignment, bars: ProgressBars, watch: Watch) -> None:
        self._record = record
        self._assignment = assignment
        self._bars = bars
        self._watch = watch
        self._work: Work | None = None
        self._shunned: dict[int, float] = {}

    def run(self, stopped: Stopped) -> int:
        """Compute until all is done, or until it is asked to stop.

        Returns:
            0, or 1 if units of the assigned studies have failed.

        Raises:
            UserError: an assigned study can't be planned here; the disk is full; the database is gone for good.
        """
        assigned = patiently(self._assigned, self._watch.note)
        if assigned is None:
            while not stopped(0):
                study_id = patiently(self._needy, self._watch.note)
                if study_id is None or not self._serve_or_shun(study_id, stopped):
                    self._watch.idle("waiting")
                    stopped(POLL)
            return 0
        failed = 0
        for study_id in assigned:
            if not stopped(0):
                work = patiently(partial(self._plan, study_id), self._watch.note)
                drain(work, self._watch, stopped, lease=self._assignment.lease)
                failed += sum(stage.failed for stage in patiently(work.progress, self._watch.note).values())
        return 1 if failed else 0

    def close(self) -> None:
        """Let go of the study that is served, and of its model."""
        if self._work is not None:
            self._work.context.close()
            self._work = None

    def _assigned(self) -> tuple[int, ...] | None:
        with self._record.session(read_only=True) as session:
            return self._assignment.resolve(session)

    def _serve_or_shun(self, study_id: int, stopped: Stopped) -> bool:
        """Compute what can be claimed in a study; False if that was nothing, so that it should rest for a moment."""
        try:
            work = patiently(partial(self._plan, study_id), self._watch.note)
        except UserError as error:
            self._shun(study_id, error)
            return True
        try:
            # What waits for others' units is looked at again after what other studies need.
            return drain(work, self._watch, stopped, lease=self._assignment.lease, stay=False) > 0
        except Replanned as error:
            self._shun(study_id, error)
            return True

    def _shun(self, study_id: int, why: UserError) -> None:
        self.close()
        self._shunned[study_id] = time.monotonic() + SHUN
        self._watch.note(f"Study {study_id} can't be computed here: {why}")

    def _plan(self, study_id: int) -> Work:
        self._watch.idle("planning", study_id)
        if self._work is None or self._work.study_id != study_id:
            self.close()  # before the next model is loaded
            with self._record.session(read_only=True) as session:
                row = session.get_one(Study, study_id)
                config = {"title": row.title} | row.config
            context = Context(validate(config, f"study {row.name}"), self._record, self._bars, self._watch.note)
            plan = plan_study(context)
            if self._assignment.submission is None:
                self._refuse_other_plan(study_id, row.name, plan)
            self._work = Work(context, plan, study_id)
        return self._work

    def _refuse_other_plan(self, study_id: int, name: str, plan: Plan) -> None:
        """A helper of another version must not bend the plan of whoever runs the study."""
        query = select(Job.identity).join(StudyJob, StudyJob.job_id == Job.id).where(StudyJob.study_id == study_id)
        with self._record.session(read_only=True) as session:
            held = set(session.scalars(query))
        if held and held != {unit.identity for unit in plan.units}:
            raise UserError(
                f"This tdlens, or its copy of the model, plans {name} otherwise than the one that runs it.",
                "Use the same version and model on every machine, or run the study again with this one: tdlens run.",
            )

    def _needy(self) -> int | None:
        """A current study that has a unit to claim, or that nobody has planned yet."""
        claimable = exists().where(StudyJob.study_id == Study.id, Job.id == StudyJob.job_id, leases.claimable())
        unplanned = ~exists().where(StudyJob.study_id == Study.id)
        now = time.monotonic()
        shunned = [study_id for study_id, until in self._shunned.items() if until > now]
        query = select(Study.id).where(Study.is_current, Study.id.not_in(shunned), or_(claimable, unplanned))
        with self._record.session(read_only=True) as session:
            return session.scalars(query.order_by(Study.id).limit(1)).first()
