"""What a worker is told to compute."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from tdlens.errors import UserError
from tdlens.record import Study, Submission, leases


@dataclass(frozen=True)
class Assignment:
    """What a worker is to compute."""

    studies: tuple[str, ...] = ()
    """Names of studies; it ends when nothing is left to do in them."""
    submission: int | None = None
    """Or one submission's study. Neither: whatever any current study needs, for ever."""
    lease: float = leases.LEASE

    def resolve(self, session: Session) -> tuple[int, ...] | None:
        """The studies' rows, or None for all.

        Raises:
            UserError: there is no such study or submission.
        """
        if self.submission is not None:
            study_id = session.scalar(select(Submission.study_id).where(Submission.id == self.submission))
            if study_id is None:
                raise UserError(
                    f"There is no submission {self.submission}.",
                    'See which there are: tdlens sql "SELECT * FROM v_submission"',
                )
            return (study_id,)
        found = {
            name: study_id
            for name, study_id in session.execute(select(Study.name, Study.id).where(Study.is_current))
            if name in self.studies
        }
        for name in self.studies:
            if name not in found:
                raise UserError(f"There is no study {name} in the record.", "See which there are: tdlens status")
        return tuple(found[name] for name in self.studies) or None
