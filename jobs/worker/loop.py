"""One unit after the other: claim it, compute it, publish its rows in one transaction that the ledger fences."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Literal, Protocol

from jobs.inference.ranks.group import RanksFailed
from jobs.owner import lose_dead, this_process
from jobs.pipeline import Replanned, Work
from jobs.stage import Publish, Unit
from jobs.worker.patience import patiently
from tdlens.errors import BlobsUnreachable, BlobVanished, DatabaseBusy, DiskFull, NoSuchStore, Unreachable, UserError
from tdlens.record import leases
from tdlens.record.leases import Claim, Superseded

AWAY = (Unreachable, DatabaseBusy, BlobsUnreachable, BlobVanished)
"""Errors of the place and not of the unit: it goes back in line, and the process rests before the next."""

RETRIES = 2
"""Times that a unit is tried again here after the ranks that computed it failed, before it counts as failed itself."""

Idle = Literal["planning", "waiting"]


class Watch(Protocol):
    """Who is told what happens to units: for the heartbeat, and for people."""

    def claimed(self, claim: Claim, unit: Unit) -> None:
        """A unit is in this process's hands; its lease must be renewed from now on."""

    def let_go(self, outcome: str, error: BaseException | None = None) -> None:
        """It isn't any more: ``published``, ``failed``, ``superseded``, ``released`` or ``lost``."""

    def idle(self, state: Idle, study_id: int | None = None) -> None:
        """This process has no unit now, and why."""

    def note(self, text: str) -> None:
        """A line for people."""


def compute_next(work: Work, watch: Watch, *, lease: float = leases.LEASE, stop_on_error: bool) -> bool:
    """Claim, compute and publish the study's next unit.

    Args:
        work: the study.
        watch: is told of claims and outcomes.
        lease: seconds until the unit counts as lost, unless somebody renews it.
        stop_on_error: raise what a unit raises, rather than go on with others.

    Returns:
        False if there is none to claim now, or if it had to be put back: wait before the next.

    Raises:
        DiskFull, NoSuchStore: the unit is back in line.
        RanksFailed: with ``stop_on_error``, the same.
        Exception: with ``stop_on_error``, whatever the unit raised; it is marked as failed.
        Replanned: the study's units aren't those of `work` any more.
        Unreachable, DatabaseBusy: the database was away for longer than is waited.
    """
    record = work.context.record

    def take() -> Claim | None:
        with record.session() as session:
            lose_dead(session, idle=True)
            return leases.claim(session, work.study_id, this_process(), lease=lease, provenance=work.provenance)

    claim = patiently(take, watch.note)
    if claim is None:
        return False
    try:
        unit = work.unit(claim)
    except Replanned:
        patiently(lambda: _give_up(work, claim, None), watch.note)
        raise
    watch.claimed(claim, unit)
    try:
        _publish(work, claim, work.stage(unit).run(work.context, unit), watch)
    except Superseded as error:
        watch.let_go("superseded", error)
    except AWAY as error:
        patiently(lambda: _give_up(work, claim, None), watch.note)
        watch.let_go("released", error)
        return False
    except RanksFailed as error:
        broken = error
        work.ranks_failed[claim.job_id] += 1
        outcome = "lost" if work.ranks_failed[claim.job_id] <= RETRIES else "failed"
        patiently(lambda: _lose(work, claim, broken, outcome == "failed"), watch.note)
        watch.let_go(outcome, error)
        if stop_on_error:
            raise
        return False
    except BaseException as error:
        ours = isinstance(error, Exception) and not isinstance(error, DiskFull | NoSuchStore)
        # where the database fails too, the lease runs out
        with suppress(UserError):
            _give_up(work, claim, error if ours else None)
        watch.let_go("failed" if ours else "released", error)
        if stop_on_error or not ours:
            raise
    else:
        watch.let_go("published")
    return True


def _publish(work: Work, claim: Claim, insert: Publish, watch: Watch) -> None:
    def once() -> None:
        with work.context.record.session() as session:
            try:
                leases.publish(session, claim)
            except Superseded:
                # Asked only now: a commit whose answer was lost with the connection may arrive until then.
                if leases.published(session, claim):
                    return
                raise
            insert(session, claim.job_id)

    patiently(once, watch.note)


def _give_up(work: Work, claim: Claim, error: BaseException | None) -> None:
    """Leave the unit as failed with the reason or, if it isn't to blame, for others to claim."""
    with work.context.record.session() as session:
        if error is None:
            leases.release(session, claim)
        else:
            leases.fail(session, claim, str(error) or type(error).__name__)


def _lose(work: Work, claim: Claim, error: RanksFailed, too_often: bool) -> None:
    """The processes that computed a unit are gone: new ones may do better, unless it is the unit that ends them."""
    with work.context.record.session() as session:
        (leases.fail if too_often else leases.lose)(session, claim, str(error))


Stopped = Callable[[float], bool]
"""Waits for some seconds, or until the process is asked to stop; whether it was."""


def drain(
    work: Work, watch: Watch, stopped: Stopped, *, lease: float, stop_on_error: bool = False, stay: bool = True
) -> int:
    """Compute the study's units until none is left that could still be done, by this process or another.

    Args:
        stay: also wait for units that others compute, as those that read them come next.

    Returns:
        How many units were computed, or failed, here.

    Raises:
        UserError: as ``compute_next``.
    """

    def unsettled() -> bool:
        with work.context.record.session(read_only=True) as session:
            return leases.unsettled(session, work.study_id)

    pause, computed = 0.1, 0
    while not stopped(0):
        if compute_next(work, watch, lease=lease, stop_on_error=stop_on_error):
            pause, computed = 0.1, computed + 1
            continue
        if not stay or not patiently(unsettled, watch.note):
            break
        watch.idle("waiting", work.study_id)
        if stopped(pause):
            break
        pause = min(2 * pause, 5.0)
    return computed
