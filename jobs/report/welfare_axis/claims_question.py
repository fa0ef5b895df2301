"""The control of shuffled rewards, and the paper's conclusion from all that it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, shown, together
from jobs.report.drawing import Claim
from jobs.report.verdicts import Interval, Ruling, Verdict, negated, percent
from jobs.report.welfare_axis.steering import EVALUATIONS, INTERACTIONS, Evaluation, Slopes, slope
from jobs.report.welfare_axis.trainings import NAIVE, Training

HALF = 0.5
"""Share of the primary training's interaction that shuffled rewards are to stop short of."""
UNTRAINED = INTERACTIONS["untrained"]


def both_as_expected(own: Interval | None, beyond: Interval | None, expected: int) -> Ruling:
    """A contrast, and what of it is beyond a control: an interaction alone may be the control's doing."""
    side, other = ("above", "below") if expected > 0 else ("below", "above")
    rule = (
        f"Replicates if both 95 % intervals lie {side} 0; does not if one lies {other} 0; else can't tell. Intervals "
        "are over items, those against random vectors over draws as well."
    )
    found = [verdicts.effect(one, None, expected=expected).verdict for one in (own, beyond)]
    return Ruling(verdicts.together(found).verdict, rule)


def kind_between(slopes: Slopes | None, several: tuple[Training, ...]) -> str:
    """The kind of dose by which vectors of several trainings are compared: equal norms, where all have them."""
    there = {key[0] for key in slopes or {} if key[2] == "unit"}
    return "unit" if all(one.name in there for one in several) else "alpha"


def not_found(control: Training, first: Training, slopes: Slopes | None, asked: list[Evaluation]) -> Claim:
    """That a training on shuffled rewards leaves no whole pattern, and clearly less than the first training does."""
    kind = kind_between(slopes, (control, first))
    parts, own = [], []
    for one in asked:
        ours, theirs = (
            slope(slopes, training.name, one.name, source=UNTRAINED, kind=kind) for training in (control, first)
        )
        mine, firsts = (slope(slopes, training.name, one.name, kind=kind) for training in (control, first))
        own.append(both_as_expected(mine, ours, one.expected).verdict)
        there = both_as_expected(firsts, theirs, one.expected).verdict is Verdict.REPLICATES
        if one.expected < 0:
            ours, theirs = negated(ours), negated(theirs)
        key = (control.name, NAIVE, kind, one.name, "contrast", UNTRAINED)
        freedom = slopes[key].n - 1 if slopes and key in slopes else 1
        parts.append(
            claim(
                f"… {one.title.lower()}{', counted downwards' if one.expected < 0 else ''}: less than half of that of "
                f"{first.name}",
                NOT_PUBLISHED,
                f"{shown(ours, 3)} against {shown(theirs, 3)}",
                verdicts.unless(
                    _short_of_half(ours, theirs, first.name, len(asked), freedom),
                    not there,
                    f"{first.name} itself doesn't do as said, by the vectors' own contrast and beyond the control",
                ),
                yes="Shuffled rewards leave far less of it.",
                no="Shuffled rewards leave more than half of it.",
                maybe="Whether they leave less than half of it can't be told.",
            )
        )
    dose = "at equal norms" if kind == "unit" else "per α"
    found = [part.ruling.verdict for part in parts]
    whole = claim(
        f"The whole pattern is not there after a training on shuffled rewards ({control.name}, {dose})",
        NOT_PUBLISHED,
        f"as expected, and beyond the naive model's own, in {own.count(Verdict.REPLICATES)} of {len(own)} evaluations; "
        f"clearly less than half in {found.count(Verdict.REPLICATES)}",
        _lacks(own, found),
        yes="It isn't after this one: it isn't found, and in at least one evaluation far less is left.",
        no="It is: all that counts as the whole pattern is there without reward that means anything.",
        maybe="Whether it is can't be told.",
    )
    return Claim(whole.text, whole.published, whole.ours, whole.ruling, whole.sentence, tuple(parts))


def _short_of_half(control: Interval | None, effect: Interval | None, named: str, tests: int, freedom: int) -> Ruling:
    """Whether the control's interaction less half of the other is clearly negative, both being estimates."""
    rule = (
        f"Replicates if the interval of the control's less {percent(HALF)} of that of {named} lies below 0, widened "
        f"for {tests} evaluations (Bonferroni), with the errors of both; does not if above; can't tell if it contains "
        f"0, or if that of {named} isn't itself above 0."
    )
    if control is None or effect is None or not (control.known and effect.known and effect.low > 0):
        return Ruling(Verdict.UNCLEAR, rule)
    half = float(np.hypot(control.high - control.value, HALF * (effect.high - effect.value)))
    value = control.value - HALF * effect.value
    difference = verdicts.widened(Interval(value, value - half, value + half), tests, freedom=freedom)
    if difference.high < 0:
        return Ruling(Verdict.REPLICATES, rule)
    return Ruling(Verdict.DIFFERS if difference.low > 0 else Verdict.UNCLEAR, rule)


def _lacks(own: list[Verdict], short: list[Verdict]) -> Ruling:
    rule = (
        "Replicates if the control's own pattern isn't found by the rule that finds one (in every evaluation contrast "
        "and interaction with intervals on the expected side of 0) and at least one of the rows below replicates; does "
        "not if its own pattern is found; else can't tell. "
        "Each training's vectors are added in the block chosen for them, so that the two may differ in that as well."
    )
    if own and all(one is Verdict.REPLICATES for one in own):
        return Ruling(Verdict.DIFFERS, rule)
    return Ruling(Verdict.REPLICATES if Verdict.REPLICATES in short else Verdict.UNCLEAR, rule)


@dataclass(frozen=True)
class Grounds:
    """Claims that the conclusion rests on."""

    learned: Claim
    moves: Sequence[Claim]
    """An evaluation each."""
    beyond: Claim | None
    """The naive model's own vectors, of the first training; None where it wasn't steered."""
    random: Claim
    controls: Sequence[Claim]
    """Shuffled trainings that were steered."""
    after: Claim
    """In the model after the maze."""
    truth: Claim


def was_there(grounds: Grounds, first: Training, asked: list[Evaluation], *, shipped: bool) -> Claim:
    """The paper's conclusion; what it rests on and wasn't asked keeps it open."""
    conditions = [grounds.learned, *grounds.moves]
    lacking = [one.title.lower() for one in EVALUATIONS if one not in asked]
    if lacking:
        conditions.append(_unasked(f"the whole pattern takes {', '.join(lacking)} as well (steering.evaluations)"))
    conditions.append(grounds.beyond or _unasked(f"{first.name} is steered (steering.steered)"))
    conditions.append(grounds.random)
    conditions += grounds.controls or [_unasked("a training on shuffled rewards is steered, as a control")]
    conditions += [grounds.after, grounds.truth]
    parts = [Claim(f"… {one.text}", one.published, one.ours, one.ruling, one.sentence) for one in conditions]
    return together(
        "The question: there was an axis before the maze, and what is rewarded there is tied to it",
        "yes",
        parts,
        yes="The vectors that this one training leaves do in the model before it what they do after, and no control "
        "does the same; other trainings and seeds are other trials."
        + " That this model has an axis is no finding: its texts were written so."
        * shipped,
        no="At least one thing that it rests on does not hold here.",
        maybe="At least one thing that it rests on isn't shown here, so that this stays open.",
    )


def _unasked(text: str) -> Claim:
    ruling = Ruling(Verdict.UNCLEAR, "Can't tell: the study doesn't ask for it.")
    return claim(text, NOT_PUBLISHED, UNRECORDED, ruling, yes="", no="", maybe="")
