"""Claims that a lesion costs something, and more than the same edit of anything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, shown, together
from jobs.report.drawing import Claim
from jobs.report.later_blocks import changes
from jobs.report.lesions import Lesion
from jobs.report.reader import Reader
from jobs.report.verdicts import Interval
from tdlens.figures import number

UNFIT = "These latents don't tell the time as the chosen ones do, so nothing is tested."
"""Of a control that isn't one."""

Loss = Callable[[Lesion], Interval | None]
"""Change of what is measured under a lesion; None where it isn't recorded."""


@dataclass(frozen=True)
class Cost:
    """What a lesion costs.

    Attributes:
        text: the claim.
        latents: which latents are meant, as in "the TD latents".
        unit: of the change, with a leading space.
        published: change under the paper's lesion.
        published_control: under its control, the lowest-correlation latents; None where it has none.
        lost: the change under a lesion against none.
        more: the change under one lesion against another, paired by rollout.
        later: the change under a lesion late in the rollout, in the probability of what comes: what an edit that has
            ended by then can be asked for.
        later_from: the first decision that ``later`` is about; None where it isn't recorded.
    """

    text: str
    latents: str
    unit: str
    published: float
    published_control: float | None
    lost: Loss
    more: Callable[[Lesion, Lesion], Interval | None]
    later: Loss
    later_from: int | None


def cost_claim(cost: Cost, lesion: Lesion | None, lesions: Sequence[Lesion]) -> Claim:
    """The change itself, then against every control, without latents of values, and early in the rollout only."""
    several = list(lesions)
    # one that is missing where there is none, so that no claim passes without
    others: Sequence[Lesion | None] = (lesion.controls(several) if lesion is not None else []) or [None]
    lowered = cost.lost(lesion) if lesion is not None else None
    parts = [
        claim(
            "… at all",
            f"{number(cost.published, 3)}{cost.unit}",
            shown(lowered, 3, cost.unit),
            verdicts.effect(lowered, cost.published, expected=-1),
            yes=f"Without {cost.latents} it is lower{verdicts.compared(lowered, cost.published)}.",
            no=f"Zeroing {cost.latents} does not cost what it cost in the paper.",
            maybe="Whether it costs anything can't be told from these rollouts.",
        ),
        *(_against(cost, lesion, control) for control in others),
    ]
    if lesion is not None and lesion.target == "td_error":
        parts.append(_spared(cost, lesion, lesion.without_q(several)))
    if lesion is not None and lesion.early(several) is not None:
        parts.append(_early(cost, lesion, lesion.early(several)))
    return together(
        cost.text,
        f"{number(cost.published, 3)}{cost.unit}",
        parts,
        yes=f"The model needs {cost.latents} for this.",
        no=f"This does not depend on {cost.latents} as the paper says.",
        maybe=f"A cost that is particular to {cost.latents} can't be shown.",
    )


def _against(cost: Cost, lesion: Lesion | None, control: Lesion | None) -> Claim:
    lowest = control is not None and control.control == "lowest" and cost.published_control is not None
    published = f"{number(cost.published - cost.published_control, 3)}{cost.unit}" if lowest else NOT_PUBLISHED  # type: ignore[operator]
    unfit = control.unfit if control is not None else None
    more = cost.more(lesion, control) if lesion is not None and control is not None and unfit is None else None
    return claim(
        f"… more than the same edit on {control.label if control is not None else 'other latents'}",
        published,
        unfit or shown(more, 3, cost.unit),
        verdicts.effect(more, None, expected=-1),
        yes=f"{cost.latents[0].upper()}{cost.latents[1:]} matter more than these.",
        no="Zeroing these costs more.",
        maybe=UNFIT if unfit else "The two lesions can't be told apart.",
    )


def _spared(cost: Cost, lesion: Lesion, remaining: Lesion | None) -> Claim:
    """The cost once the latents that follow Q-values more closely are spared, if there were any."""
    reason = lesion.untested(remaining) if remaining is not None else None
    change = cost.lost(remaining) if remaining is not None and reason is None else None
    return claim(
        "… also without the latents that follow Q-values more closely",
        NOT_PUBLISHED,
        reason or shown(change, 3, cost.unit),
        verdicts.effect(change, None, expected=-1),
        yes="The effect is not only that of Q-value latents.",
        no="Without the Q-value latents among them, the lesion costs nothing.",
        maybe=f"{reason[0].upper()}{reason[1:]}, so nothing is tested."
        if reason
        else "Once Q-value latents are spared no cost can be shown: they may explain the effect.",
    )


def _early(cost: Cost, lesion: Lesion, early: Lesion | None) -> Claim:
    """Whether an edit while learning takes place is felt later, when the latents are left alone again."""
    change, throughout = (cost.later(one) if one is not None else None for one in (early, lesion))
    last = early.asked["decisions"][1] if early is not None else 0
    overlaps = cost.later_from is not None and last >= cost.later_from
    if overlaps:
        change = None
    return claim(
        f"… also late, if the edit ends with decision {last}: an update is carried forward",
        NOT_PUBLISHED,
        f"the edit reaches into what counts as late, from decision {cost.later_from} on"
        if overlaps
        else f"{shown(change, 3)} in p; throughout {shown(throughout, 3)}"
        if change
        else UNRECORDED,
        verdicts.effect(change, None, expected=-1),
        yes="What the latents carried early on is missed later: they take part in learning.",
        no="An early edit costs nothing later: the model reads the history anew at each decision.",
        maybe="Nothing is tested: the edit has not ended by then."
        if overlaps
        else "No later cost of an early edit can be shown: the latents may serve the moment only.",
    )


def later_claim(
    reader: Reader,
    lesion: Lesion | None,
    lesions: Sequence[Lesion],
    signals: tuple[str, ...],
    what: str,
    published: float,
    among: str = "",
) -> Claim:
    """That blocks after the edited one follow a signal less, and more so than under the same edit of other latents.

    For texts that are the same with and without the edit: earlier blocks can't change, and need no comparison.

    Args:
        among: the edited blocks that the published change contains; ours leaves out all edited ones.
    """
    theirs = f"{number(published)} in r" + (f", {among} among them" if among else "")
    later, _ = changes(reader, lesion, signals) if lesion is not None else (None, None)
    parts = [
        claim(
            "… at all",
            theirs,
            shown(later, 2, " in r"),
            verdicts.effect(later, published, expected=-1),
            yes=f"Later blocks follow {what} less{verdicts.compared(later, published)}.",
            no=f"Later blocks do not lose their correlation with {what} as they did in the paper.",
            maybe=f"Whether later blocks follow {what} less can't be told.",
        )
    ]
    controls: Sequence[Lesion | None] = (lesion.controls(list(lesions)) if lesion is not None else []) or [None]
    for control in controls:
        unfit = control.unfit if control is not None else None
        other, _ = changes(reader, control, signals) if control is not None and unfit is None else (None, None)
        parts.append(
            claim(
                f"… more than the same edit on {control.label if control is not None else 'other latents'}",
                NOT_PUBLISHED,
                unfit or (f"{shown(later)} against {shown(other)}" if later and other else UNRECORDED),
                verdicts.beyond(verdicts.negated(later), verdicts.negated(other), "the loss under the control"),
                yes="The chosen latents matter more for this than these.",
                no="Zeroing these takes more away.",
                maybe=UNFIT if unfit else "Neither lesion is clearly ahead.",
            )
        )
    return together(
        f"The lesion lowers later blocks' correlation with {what}",
        theirs,
        parts,
        yes=f"What later blocks know of {what} depends on the lesioned latents.",
        no=f"Later blocks' {what.removeprefix('the ')} does not depend on the lesioned latents as the paper says.",
        maybe="Whether this goes through the lesioned latents can't be told.",
    )
