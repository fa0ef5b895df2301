"""Claims about the bridge: concept vectors beside latents that follow learning signals in the same model."""

from __future__ import annotations

from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, or_none, together
from jobs.report.drawing import Claim
from jobs.report.reader import Reader, StudyFacts
from jobs.report.verdicts import Ruling, Verdict
from jobs.report.welfare_axis.bridge import ALPHA, Bridged, read_bridge
from jobs.report.welfare_axis.trainings import primary
from jobs.report.welfare_axis.vectors import CONCEPTS, SIGNS
from tdlens.figures import number

HALF = 0.5
"""Share of a vector's nearness to latents that the naive model's own is to stop short of."""


def bridge_claim(reader: Reader, facts: StudyFacts) -> Claim:
    """Whether the first training's vectors lie along latents of TD errors and values, with its verdict."""
    return _bridged(or_none(lambda: read_bridge(reader, primary(facts))))


def _bridged(found: list[Bridged] | None) -> Claim:
    parts = []
    for concept in CONCEPTS:
        for named, chosen in (("TD errors", _is_error), ("values", _is_value)):
            mine, naive = (
                [one for one in found or [] if one.concept == which and chosen(one.signal)]
                for which in (concept, f"untrained {concept}")
            )
            parts += [
                claim(
                    f"… {concept.capitalize()}, latents of {named}: nearer than latents that fire as often",
                    NOT_PUBLISHED,
                    _nearest(mine) if mine else UNRECORDED,
                    _shares(mine, SIGNS[concept]),
                    yes="It shares their direction.",
                    no="It points against what was expected.",
                    maybe="It is no nearer than matched latents are, which doesn't say that it has nothing of them.",
                ),
                _more_than_naive(mine, naive, concept, named),
            ]
    return together(
        "After the maze Gold points along latents of TD errors and values in the same model, Mold against them; not "
        "before it",
        NOT_PUBLISHED,
        parts,
        yes="The welfare vectors and the learning signals share directions, and it is the maze's doing.",
        no="At least one points the other way round, or did so before the maze.",
        maybe="Whether they share directions, and by the maze's doing, can't be told.",
    )


def _more_than_naive(mine: list[Bridged], naive: list[Bridged], concept: str, named: str) -> Claim:
    """The farthest of the significant cosines against that of the naive model's own vector in the same place."""
    sign = SIGNS[concept]
    rule = (
        f"Of the cosines that are {'positive' if sign > 0 else 'negative'} with a corrected p ≤ {ALPHA:g}, the one "
        "farthest out, in widths of its matched sets' 95 %. Replicates if the naive model's own vector, in the same "
        f"autoencoder, block and signal, is less than {HALF:g} times as far out on that side; does not if at least as "
        "far; else, or without such a cosine, can't tell. No interval: these are single vectors, and the farthest of "
        "several is likely to be somewhat farther than it is."
    )
    places = {(one.sae, one.block, one.signal): one for one in naive}
    clear = [one for one in mine if one.adjusted <= ALPHA and one.side == sign]
    first = max(clear, key=lambda one: sign * one.out, default=None)
    control = None if first is None else places.get((first.sae, first.block, first.signal))
    verdict, ours = Verdict.UNCLEAR, "no such cosine" if mine else UNRECORDED
    if first is not None and control is not None:
        share = control.out / first.out
        verdict = Verdict.REPLICATES if share < HALF else Verdict.DIFFERS if share >= 1 else Verdict.UNCLEAR
        ours = (
            f"{first.signal}, {first.sae}/{first.block}: cosine {number(first.cosine, 3)}, naive "
            f"{number(control.cosine, 3)}; {number(first.out)} and {number(control.out)} widths out"
        )
    return claim(
        f"… {concept.capitalize()}, latents of {named}: farther out than the naive model's own vector",
        NOT_PUBLISHED,
        ours,
        Ruling(verdict, rule),
        yes="Before the maze there was less than half of it.",
        no="The naive model's own vector has as much of it: it isn't the maze's doing.",
        maybe="That it is the maze's doing can't be told.",
    )


def _is_error(signal: str) -> bool:
    return "error" in signal


def _is_value(signal: str) -> bool:
    return signal.startswith("q_") and "difference" not in signal


def _nearest(mine: list[Bridged]) -> str:
    best = min(mine, key=lambda one: (one.adjusted, -abs(one.cosine)))
    return (
        f"{best.signal}, {best.sae}/{best.block}: cosine {number(best.cosine, 3)}, matched {number(best.null.low, 3)} "
        f"to {number(best.null.high, 3)}, p = {number(best.adjusted, 3)} (Holm); {len(mine)} comparisons"
    )


def _shares(mine: list[Bridged], sign: int) -> Ruling:
    rule = (
        f"Replicates if a cosine is {'positive' if sign > 0 else 'negative'} and {'above' if sign > 0 else 'below'} "
        "matched sets of latents with "
        f"p ≤ {ALPHA:g} after Holm's correction over all tests of the training, and none is so with the other sign; "
        "does not if only such of the other sign are; else can't tell."
    )
    clear = {one.side for one in mine if one.adjusted <= ALPHA} - {0}
    if len(clear) != 1:
        return Ruling(Verdict.UNCLEAR, rule)
    return Ruling(Verdict.REPLICATES if sign in clear else Verdict.DIFFERS, rule)
