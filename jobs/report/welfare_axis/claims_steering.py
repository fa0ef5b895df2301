"""Claims about steering: each evaluation by itself, the whole pattern against its controls, and what follows."""

from __future__ import annotations

from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, or_none, shown, together
from jobs.report.drawing import Claim
from jobs.report.reader import Reader, StudyFacts
from jobs.report.verdicts import Interval, Ruling, Verdict
from jobs.report.welfare_axis import authors
from jobs.report.welfare_axis.claims_question import Grounds, both_as_expected, not_found, was_there
from jobs.report.welfare_axis.fig_pattern import Row, published_contrast
from jobs.report.welfare_axis.fig_planted import Planted, read_planted
from jobs.report.welfare_axis.steering import (
    INTERACTIONS,
    Condition,
    Curve,
    Evaluation,
    Slopes,
    evaluations,
    read_curves,
    read_slopes,
    slope,
)
from jobs.report.welfare_axis.trainings import NAIVE, SHIPPED, Training, primary, trainings
from jobs.report.welfare_axis.vectors import CONCEPTS
from tdlens.figures import number

WITHIN = 2.0
"""Largest |alpha| over which confidence is to be monotone."""


def steering_claims(reader: Reader, facts: StudyFacts, learned: Claim) -> list[Claim]:
    """Every claim on steering with its verdict.

    Args:
        reader: of the study.
        facts: of the study.
        learned: whether the first training learned the maze, on which the conclusion rests.
    """
    slopes = or_none(lambda: read_slopes(reader, facts))
    curves = or_none(lambda: read_curves(reader, facts)) or {}
    first, asked = primary(facts), evaluations(facts)
    named = facts.config["steering"]["steered"]
    steered = [one for one in trainings(facts) if named is None or one.name in named]
    planted = or_none(lambda: read_planted(reader)) or []
    moves = [_moves(one, first, slopes, curves) for one in asked]
    beyond = {one.name: _beyond_untrained(one, slopes, asked) for one in steered if not one.shuffled}
    random, truth = _beyond_random(first, slopes, asked), _planted(planted)
    controls = [not_found(one, first, slopes, asked) for one in steered if one.shuffled]
    after = _trained_reader(first, slopes, asked)
    conclusion = Grounds(learned, moves, beyond.get(first.name), random, controls, after, truth)
    return [
        *moves,
        *beyond.values(),
        random,
        *controls,
        after,
        _equal_norms(first, slopes, asked),
        truth,
        was_there(conclusion, first, asked, shipped=facts.config["model"]["name"] == SHIPPED),
    ]


def _moves(one: Evaluation, first: Training, slopes: Slopes | None, curves: dict[Condition, Curve]) -> Claim:
    parts = []
    for concept in CONCEPTS:
        sign = one.expected if concept == "gold" else -one.expected
        found = slope(slopes, first.name, one.name, concept)
        parts.append(
            claim(
                f"… {concept.capitalize()} {'raises' if sign > 0 else 'lowers'} it, slope per α",
                _published_slopes(one, first, concept),
                shown(found, 3),
                verdicts.effect(found, None, expected=sign),
                yes="It does.",
                no="It does the opposite.",
                maybe="Whether it does can't be told.",
            )
        )
        if one.name == "confidence":
            curve = curves.get(Condition(first.name, NAIVE, "trained", concept, one.name, "alpha"))
            parts.append(_monotone(curve, first, one, concept, sign))
    words = "rises along Gold and falls along Mold" if one.expected > 0 else "falls along Gold and rises along Mold"
    return together(
        f"{one.title} {words} in the model that no maze has trained",
        NOT_PUBLISHED,
        parts,
        yes="It does; whether that is special to these vectors is asked below.",
        no="At least one condition does not hold.",
        maybe="At least one condition is missing or not clear.",
    )


def _published_slopes(one: Evaluation, first: Training, concept: str) -> str:
    found = {name: authors.slope(first, concept, "trained", name) for name in one.published}
    told = [
        f"{number(value / one.scale, 3)}{f' ({authors.NAMES[name]})' if len(found) > 1 else ''}"
        for name, value in found.items()
        if value is not None
    ]
    return ", ".join(told) or NOT_PUBLISHED


def _monotone(curve: Curve | None, first: Training, one: Evaluation, concept: str, sign: int) -> Claim:
    doses = [float(dose) for dose in curve.doses if abs(dose) <= WITHIN] if curve is not None else []
    several = [curve.at(dose) for dose in doses] if curve is not None else []
    known = [point for point in several if point is not None]
    towards = [point if sign > 0 else Interval(-point.value, -point.high, -point.low) for point in known]
    ends = len(towards) == len(several) and len(towards) > 2 and towards[0].high < towards[-1].low
    ruling = verdicts.rises(towards if len(known) == len(several) else [], "dose")
    flat = ruling.verdict is Verdict.REPLICATES and not ends
    theirs = authors.curve(first, concept, "trained", one.published[0])
    return claim(
        f"… {concept.capitalize()}: monotone over |α| ≤ {WITHIN:g}",
        " → ".join(number(theirs[dose]) for dose in (-2, 0, 2)) if theirs is not None else NOT_PUBLISHED,
        " → ".join(number(point.value) for point in known) or UNRECORDED,
        verdicts.unless(ruling, flat, "the intervals of the lowest and the highest dose overlap"),
        yes="Each dose does more than the one before.",
        no="A larger dose does clearly less than a smaller one.",
        maybe="Whether it is monotone, and not flat, can't be told.",
    )


def _interaction(
    one: Evaluation, training: Training, slopes: Slopes | None, control: str, kind: str = "alpha"
) -> Claim:
    source = INTERACTIONS[control]
    own, found = (slope(slopes, training.name, one.name, source=which, kind=kind) for which in ("trained", source))
    theirs = published_contrast(Row(training, NAIVE, source, kind), one)
    side = "above" if one.expected > 0 else "below"
    return claim(
        f"… {one.title.lower()}: Gold's slope less Mold's, and what of it is beyond the control, {side} 0",
        NOT_PUBLISHED if theirs is None else f"beyond: {number(theirs, 3)}",
        f"{shown(own, 3)}; beyond: {shown(found, 3)}",
        both_as_expected(own, found, one.expected),
        yes="They do it, and more than the control does.",
        no="They do the reverse, or the control does more of it.",
        maybe="That they do it, or do more than the control, can't be told.",
    )


def _beyond_untrained(training: Training, slopes: Slopes | None, asked: list[Evaluation]) -> Claim:
    swapped = " The swap gives each tile the other's picture, so what is left is no picture's doing." * (
        training.variant == "swap"
    )
    return together(
        f"The whole pattern, beyond the naive model's own vectors of the same norm: {training.said}",
        NOT_PUBLISHED,
        [_interaction(one, training, slopes, "untrained") for one in asked],
        yes="In every evaluation the vectors of this one training do as said, and more than the naive model's one pair."
        f"{swapped}",
        no="In at least one evaluation they do the reverse, or the control does more.",
        maybe="In at least one evaluation it can't be told: the whole pattern is not shown.",
    )


def _beyond_random(training: Training, slopes: Slopes | None, asked: list[Evaluation]) -> Claim:
    return together(
        f"The whole pattern, beyond random pairs of the same norms and angle: {training.name}",
        NOT_PUBLISHED,
        [_interaction(one, training, slopes, "random") for one in asked],
        yes="In every evaluation the vectors of this one training do as said, and more than random vectors would: "
        "beyond them by more than these differ from each other.",
        no="In at least one evaluation they do the reverse, or random vectors do more.",
        maybe="In at least one evaluation it can't be told; of fewer than three random draws nothing can be.",
    )


def _trained_reader(first: Training, slopes: Slopes | None, asked: list[Evaluation]) -> Claim:
    parts = []
    for one in asked:
        found = slope(slopes, first.name, one.name, reader=first.name)
        theirs = _published_reader(first) if one.name == "sentiment" else None
        parts.append(
            claim(
                f"… {one.title.lower()}: Gold's slope less Mold's",
                NOT_PUBLISHED if theirs is None else number(theirs / one.scale, 3),
                shown(found, 3),
                verdicts.effect(found, None, expected=one.expected),
                yes="As in the naive model.",
                no="The other way round.",
                maybe="Its sign can't be told.",
            )
        )
    return together(
        f"In the model after the maze the vectors do the same: {first.name}",
        NOT_PUBLISHED,
        parts,
        yes="They do, in every evaluation.",
        no="In at least one evaluation they do the opposite.",
        maybe="In at least one evaluation it can't be told.",
    )


def _published_reader(first: Training) -> float | None:
    slopes = [authors.slope_of(authors.trained_reader(first, concept)) for concept in ("gold", "mold")]
    return None if slopes[0] is None or slopes[1] is None else slopes[0] - slopes[1]


def _equal_norms(first: Training, slopes: Slopes | None, asked: list[Evaluation]) -> Claim:
    parts = [_interaction(one, first, slopes, "untrained", "unit") for one in asked]
    return together(
        f"Equal multiples are not equal doses; at equal norms the whole pattern is there as well: {first.name}",
        NOT_PUBLISHED,
        parts,
        yes="It is: direction, not length, makes it.",
        no="In at least one evaluation they do the reverse, or the control does more, at equal norms.",
        maybe="In at least one evaluation it can't be told at equal norms.",
    )


def _planted(several: list[Planted]) -> Claim:
    ours = "; ".join(
        f"{one.model.replace('_', ' ')} ({'pattern' if one.planted else 'no pattern'}): "
        f"{'found' if one.found else 'not found'}"
        for one in several
    )
    return claim(
        "The analysis finds an axis where one was written into the weights, and none where none was",
        NOT_PUBLISHED,
        ours or UNRECORDED,
        _all_right(several),
        yes="It tells all of them right.",
        no="It errs in at least one; what it says of trained models is not to be trusted.",
        maybe="There is no model of both kinds.",
    )


def _all_right(several: list[Planted]) -> Ruling:
    rule = (
        "Replicates if the whole pattern is found in every model with an axis and in none without; does not if one is "
        "told wrong; can't tell without both kinds."
    )
    if any(not one.right for one in several):
        return Ruling(Verdict.DIFFERS, rule)
    both = {one.planted for one in several} == {True, False}
    return Ruling(Verdict.REPLICATES if both else Verdict.UNCLEAR, rule)
