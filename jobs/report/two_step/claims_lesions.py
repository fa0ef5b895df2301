"""Claims on interventions: return, likeness to Q-learning, later blocks (Figs 2E-2H), against every control."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, or_none, shown, together
from jobs.report.claims_lesions import UNFIT
from jobs.report.drawing import Claim
from jobs.report.later_blocks import changes
from jobs.report.lesions import Effect, Lesion, read_effects, read_lesions, td_lesion
from jobs.report.reader import Reader, StudyFacts
from jobs.report.two_step.claims_behaviour import PAPER
from jobs.report.two_step.fig2b_behaviour import PUBLISHED_CHOICES, read_fits
from jobs.report.two_step.groups import GROUPS
from jobs.report.two_step.returns import paired_difference, read_returns
from jobs.report.verdicts import Interval
from tdlens.figures import number

Effects = dict[tuple[str, str], Effect]


def lesion_claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """What zeroing the TD latents does, beyond zeroing others."""
    lesions = or_none(lambda: read_lesions(reader, facts)) or []
    lesion = or_none(lambda: td_lesion(lesions))
    # one that is missing where there is none, so that no claim passes without
    others: Sequence[Lesion | None] = (lesion.controls(lesions) if lesion is not None else []) or [None]
    returns = or_none(lambda: read_returns(reader, facts))
    fits = or_none(lambda: read_fits(reader, facts)) or {}
    # published sums are of 4,600 choices; ours may be of fewer
    scale = next((fit.n_choices / PUBLISHED_CHOICES for fit in fits.values()), 1.0)
    effects = read_effects(reader)
    return [
        _cost(lesion, others, lesion.without_q(lesions) if lesion is not None else None, effects, returns),
        _likeness(lesion, others, effects, scale),
    ]


def _cost(
    lesion: Lesion | None,
    others: Sequence[Lesion | None],
    remaining: Lesion | None,
    effects: Effects,
    returns: pd.DataFrame | None,
) -> Claim:
    published = PAPER["return_td_lesion"] - PAPER["return_70b"]
    lowered = _change(effects, lesion, "return")
    parts = [
        claim(
            "… at all",
            f"{number(published)} points",
            shown(lowered, 2, " points"),
            verdicts.effect(lowered, published, expected=-1),
            yes=f"Without its TD latents the model earns less{verdicts.compared(lowered, published)}.",
            no="Zeroing the TD latents does not cost what it cost in the paper.",
            maybe="Whether it costs anything can't be told from these rollouts.",
        )
    ]
    for control in others:
        more, unfit = None, control.unfit if control is not None else None
        if lesion is not None and control is not None and returns is not None and unfit is None:
            more = paired_difference(returns, lesion.name, control.name)
        parts.append(
            claim(
                _more_than(control),
                NOT_PUBLISHED,
                unfit or shown(more, 2, " points"),
                verdicts.effect(more, None, expected=-1),
                yes="The TD latents matter more than these.",
                no="Zeroing these costs even more.",
                maybe=UNFIT if unfit else "The two lesions can't be told apart.",
            )
        )
    parts.append(_spared(lesion, remaining, effects))
    return together(
        "Zeroing the TD latents lowers the return, more than zeroing anything else",
        f"{number(published)} points",
        parts,
        yes="The model needs its TD latents to earn what it earns.",
        no="The return does not depend on the TD latents as the paper says.",
        maybe="A cost that is particular to the TD latents can't be shown.",
    )


def _spared(lesion: Lesion | None, remaining: Lesion | None, effects: Effects) -> Claim:
    """The cost once the latents that follow Q-values more closely are spared, if there were any."""
    reason = lesion.untested(remaining) if lesion is not None and remaining is not None else None
    change = _change(effects, remaining, "return") if reason is None else None
    return claim(
        "… also without the latents that follow Q-values more closely",
        NOT_PUBLISHED,
        reason or shown(change, 2, " points"),
        verdicts.effect(change, None, expected=-1),
        yes="The effect is not only that of Q-value latents.",
        no="Without the Q-value latents among them, the lesion raises the return.",
        maybe=f"{reason[0].upper()}{reason[1:]}, so nothing is tested."
        if reason
        else "Once Q-value latents are spared no cost can be shown: they may explain the effect.",
    )


def _likeness(lesion: Lesion | None, others: Sequence[Lesion | None], effects: Effects, scale: float) -> Claim:
    published = PAPER["nll_td_lesion"] - PAPER["nll_no_lesion"]
    of_control = PAPER["nll_control_lesion"] - PAPER["nll_no_lesion"]
    ours = _change(effects, lesion, "nll_q")
    parts = [
        claim(
            "… at all",
            f"{number(published, 0)} nats",
            shown(ours, 1, " nats"),
            verdicts.effect(ours, published * scale, expected=1),
            yes="The lesioned model's choices are less likely under the Q-model"
            f"{verdicts.compared(ours, published * scale)}.",
            no="The lesion does not take behaviour away from the Q-model as it did in the paper.",
            maybe="Whether behaviour becomes less like Q-learning can't be told.",
        )
    ]
    for control in others:
        unfit = control.unfit if control is not None else None
        other = _change(effects, control, "nll_q") if unfit is None else None
        lowest = control is not None and control.control == "lowest"
        parts.append(
            claim(
                _more_than(control),
                f"{number(published, 0)} against {number(of_control, 0)} nats" if lowest else NOT_PUBLISHED,
                unfit or (f"{shown(ours, 1)} against {shown(other, 1)} nats" if ours and other else UNRECORDED),
                verdicts.beyond(ours, other, "the control"),
                yes="The TD latents matter more for this than these.",
                no="Zeroing these takes behaviour further away.",
                maybe=UNFIT if unfit else "Neither lesion is clearly ahead.",
            )
        )
    return together(
        "Zeroing the TD latents makes behaviour less like Q-learning, more than zeroing anything else",
        f"{number(published, 0)} nats",
        parts,
        yes="The TD latents are what makes behaviour like Q-learning.",
        no="Behaviour does not owe its likeness to Q-learning to the TD latents.",
        maybe="A change that is particular to the TD latents can't be shown.",
    )


def clamp_claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """What clamping the TD latents does to later blocks, beyond what other choices do to all blocks."""
    lesions = or_none(lambda: read_lesions(reader, facts)) or []
    lesion = or_none(lambda: td_lesion(lesions, "clamp"))
    controls = lesion.controls(lesions) if lesion is not None else []
    return [
        _clamp(reader, lesion, controls, "q_values", "Q-values", "clamp_r_q_value"),
        _clamp(reader, lesion, controls, "td_error", "the TD error", "clamp_r_td_error"),
    ]


def _clamp(reader: Reader, lesion: Lesion | None, controls: list[Lesion], group: str, what: str, key: str) -> Claim:
    later, earlier = changes(reader, lesion, GROUPS[group]) if lesion is not None else (None, None)
    at_end = lesion is not None and later is None and earlier is not None
    absent = "no block after the clamped one" if at_end else UNRECORDED
    published = PAPER[key] - PAPER[f"{key}_no_lesion"]
    parts = [
        claim(
            "… at all",
            f"{number(published)} in r",
            shown(later, 2, " in r") if later else absent,
            verdicts.effect(later, published, expected=-1),
            yes=f"Later blocks follow {what} less{verdicts.compared(later, published)}.",
            no=f"Later blocks do not lose their correlation with {what} as they did in the paper.",
            maybe=f"Whether later blocks follow {what} less can't be told.",
        ),
        claim(
            "… more than in earlier blocks, which the edit can't reach",
            NOT_PUBLISHED,
            f"{shown(later)} against {shown(earlier)}" if later and earlier else absent,
            verdicts.beyond(verdicts.negated(later), verdicts.negated(earlier), "the loss in earlier blocks"),
            yes="The loss goes beyond what the changed choices do to every block.",
            no="Earlier blocks lose more: the loss comes with the changed choices, not through the blocks.",
            maybe="Whether later blocks lose more than earlier ones can't be told.",
        ),
    ]
    for control in controls:
        other, _ = changes(reader, control, GROUPS[group])
        parts.append(
            claim(
                _more_than(control),
                NOT_PUBLISHED,
                f"{shown(later)} against {shown(other)}" if later and other else absent,
                verdicts.beyond(verdicts.negated(later), verdicts.negated(other), "the loss under the control"),
                yes="The TD latents matter more for this than these.",
                no="Clamping these takes more away.",
                maybe="Neither clamp is clearly ahead.",
            )
        )
    return together(
        f"Clamping the TD latents lowers later blocks' correlation with {what}",
        f"{number(published)} in r",
        parts,
        yes=f"What later blocks know of {what} depends on the TD latents.",
        no=f"Later blocks' {what.removeprefix('the ')} does not depend on the TD latents as the paper says.",
        maybe="Whether this goes through the TD latents can't be told.",
    )


def _more_than(control: Lesion | None) -> str:
    return f"… more than the same edit on {control.label if control is not None else 'other latents'}"


def _change(effects: Effects, lesion: Lesion | None, metric: str) -> Interval | None:
    effect = effects.get((lesion.name, metric)) if lesion is not None else None
    return effect.difference if effect is not None else None
