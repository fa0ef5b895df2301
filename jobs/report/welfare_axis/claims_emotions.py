"""Claims about emotion words, about the bridge to latents of learning signals, and about models whose axis is known."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, or_none, shown, together
from jobs.report.drawing import Claim
from jobs.report.reader import Reader, StudyFacts
from jobs.report.verdicts import Interval, Ruling, Verdict, negated
from jobs.report.welfare_axis import authors
from jobs.report.welfare_axis.bridge import ALPHA, Bridged, read_bridge
from jobs.report.welfare_axis.emotions import Component, Words, more, read_components, read_words
from jobs.report.welfare_axis.trainings import SHIPPED, Training, primary, trainings
from jobs.report.welfare_axis.vectors import CONCEPTS, Owner, naive_of, of_model, read_vectors, told_apart
from tdlens.figures import number

MIRRORED = 0.7
"""Size of the negative r of cosines with Gold and with Mold."""
CLEAR = 0.1
"""By how much an r has to differ from a control's: intervals are over words, and know nothing of other trainings."""
VALENCE = 0.7
"""r of the first principal component with valence from which on it counts as valence."""
HALF = 0.5
"""Share of a vector's nearness to latents that the naive model's own is to stop short of."""
SIGNS = {"gold": 1, "mold": -1}
"""Of what pleases, and of a signal that is better than expected."""


def emotion_claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """Every claim on emotions and on the bridge with its verdict."""
    one = primary(facts)
    owner = Owner(one, one.variant)
    words = or_none(lambda: read_words(reader, owner))
    shuffled = next((Owner(each, each.variant) for each in trainings(facts) if each.shuffled), None)
    others = {"the naive model's own vectors": naive_of(one), "the vectors that shuffled rewards leave": shuffled}
    controls = {
        said: None if each is None else or_none(partial(read_words, reader, each)) for said, each in others.items()
    }
    components = or_none(lambda: read_components(reader, owner)) or {}
    theirs = {
        said: {} if each is None else or_none(partial(read_components, reader, each)) or {}
        for said, each in others.items()
    }
    shipped = facts.config["model"]["name"] == SHIPPED
    of_words = [
        _mirrored(words, controls, one),
        _pleasant(words, controls),
        _first_component(components, theirs, words, one, shipped=shipped),
    ]
    vectors = or_none(lambda: read_vectors(reader))
    if words is not None and vectors is not None:
        told = told_apart(of_model(vectors, owner), facts)
        of_words = [_void(each) if not told.issuperset(words.blocks.values()) else each for each in of_words]
    return [*of_words, _bridged(or_none(lambda: read_bridge(reader, one)))]


def _void(one: Claim) -> Claim:
    """A claim about cosines with vectors that are none of their tiles: nothing is said, either way."""
    rule = (
        f"{one.ruling.rule} Can't tell where emotions are read in a block in which the vectors don't tell held-out "
        "trajectories of both tiles apart: cosines with such a vector are those of noise."
    )
    said = "In the block in which emotions are read the vectors don't tell the tiles apart."
    return Claim(one.text, one.published, one.ours, Ruling(Verdict.UNCLEAR, rule), said, tuple(map(_void, one.parts)))


def _mirrored(words: Words | None, controls: dict[str, Words | None], one: Training) -> Claim:
    theirs, r = authors.emotions(one), words.r if words is not None else None
    parts = [
        claim(
            f"… r below {number(-MIRRORED, 1)}",
            NOT_PUBLISHED if theirs is None else number(theirs.r, 3),
            shown(r),
            verdicts.exceeds(negated(r), MIRRORED, "the size of that r, counted downwards"),
            yes="What is near Gold is far from Mold.",
            no="It isn't so to that degree.",
            maybe="Whether it is so to that degree can't be told.",
        ),
        *_beyond_controls(words, controls, "", "mold", "gold", -1),
    ]
    return together(
        "Among emotion words Gold and Mold are mirror images",
        NOT_PUBLISHED,
        parts,
        yes="They are, more than without reward that means anything; that holds of these words and this one training.",
        no="At least one condition does not hold.",
        maybe="At least one condition is missing or not clear.",
    )


def _beyond_controls(
    words: Words | None, controls: dict[str, Words | None], named: str, first: str, other: str, sign: int
) -> list[Claim]:
    """An r against that of each control."""
    parts = []
    for said, control in controls.items():
        difference = more(words, control, first, other)
        parts.append(
            claim(
                f"… {named}r {'higher' if sign > 0 else 'lower'} than with {said}, by more than {number(CLEAR, 1)}",
                NOT_PUBLISHED,
                f"difference {shown(difference)}",
                verdicts.exceeds(
                    difference if sign > 0 else negated(difference), CLEAR, "what counts as more, in that direction"
                ),
                yes="It is.",
                no="The control has nearly as much of it, or more.",
                maybe="They can't be told apart.",
            )
        )
    return parts


def _pleasant(words: Words | None, controls: dict[str, Words | None]) -> Claim:
    parts = []
    for concept, sign in SIGNS.items():
        r = words.valence_r(concept) if words is not None else None
        kind = "pleasant" if sign > 0 else "unpleasant"
        ours = f"{', '.join(words.top(concept))}; r with valence {shown(r)}" if words is not None else UNRECORDED
        parts.append(
            claim(
                f"… {concept.capitalize()} lies near {kind} words",
                ", ".join(authors.top_emotions(concept)[:5]),
                ours,
                verdicts.effect(r, None, expected=sign),
                yes=f"The nearer to {concept.capitalize()}, the more {kind}.",
                no=f"The nearer to {concept.capitalize()}, the less {kind}.",
                maybe="Cosines don't tell pleasant words from others.",
            )
        )
        parts += _beyond_controls(words, controls, f"{concept.capitalize()}: ", concept, "valence", sign)
    return together(
        "Gold lies near pleasant emotion words, Mold near unpleasant ones",
        NOT_PUBLISHED,
        parts,
        yes="Both do, more than the controls; that holds of these words and this one training.",
        no="At least one condition does not hold.",
        maybe="At least one condition is missing or not clear.",
    )


def _first_component(
    components: dict[str, Component],
    controls: dict[str, dict[str, Component]],
    words: Words | None,
    one: Training,
    *,
    shipped: bool,
) -> Claim:
    valence, theirs = None, authors.projections(one)
    if components and words is not None:
        valence = fisher(next(iter(components.values())).valence_r, words.cells)
    parts = [
        claim(
            f"… the first principal component is valence: r above {number(VALENCE, 1)}",
            "“valence”, 46.2 % of the variance",
            shown(valence),
            verdicts.exceeds(valence, VALENCE, "that"),
            yes="It orders words by valence"
            + ", as this model's texts do: they were drawn by the table of emotions that the valence is from." * shipped
            + "." * (not shipped),
            no="It orders words by something else.",
            maybe="Whether it orders words by valence can't be told.",
        )
    ]
    for concept, sign in SIGNS.items():
        place = components.get(concept)
        parts.append(
            claim(
                f"… {concept.capitalize()} projects {'above' if sign > 0 else 'below'} random vectors of its norm",
                NOT_PUBLISHED if theirs is None else f"{number(theirs[concept])} (its stream's units)",
                UNRECORDED
                if place is None
                else f"{Interval(place.projection, place.low, place.high).text()}, in brackets 95 % of random ones; "
                f"cosine {number(place.cosine, 3)}",
                _beyond(place, sign),
                yes="It does.",
                no="It lies on the other side.",
                maybe="It lies among random vectors.",
            )
        )
        parts.append(_farther_out(concept, sign, place, [each.get(concept) for each in controls.values()]))
    return together(
        "On the first principal component of emotions Gold and Mold lie on opposite sides",
        NOT_PUBLISHED,
        parts,
        yes="They do, beyond isotropic random vectors and both controls; that holds of this one training.",
        no="At least one condition does not hold.",
        maybe="At least one condition is missing or not clear.",
    )


def _farther_out(concept: str, sign: int, place: Component | None, controls: list[Component | None]) -> Claim:
    rule = (
        f"Replicates if the cosine with the component is {'above' if sign > 0 else 'below'} that of the naive model's "
        "own vector and that of shuffled rewards; does not if it isn't; can't tell without both. No interval: these "
        "are single vectors."
    )
    known = [each.cosine for each in controls if each is not None]
    verdict = Verdict.UNCLEAR
    if place is not None and len(known) == len(controls):
        farther = all(sign * place.cosine > sign * each for each in known)
        verdict = Verdict.REPLICATES if farther else Verdict.DIFFERS
    told = ", ".join(number(each, 3) for each in known)
    missing = place is None or len(known) < len(controls)
    return claim(
        f"… {concept.capitalize()}: farther out than the vectors of both controls",
        NOT_PUBLISHED,
        UNRECORDED if place is None or missing else f"cosine {number(place.cosine, 3)} against {told}",
        Ruling(verdict, rule),
        yes="It is.",
        no="A control's vector lies as far out.",
        maybe="",
    )


def fisher(r: float, n: int) -> Interval | None:
    """A correlation over n words with Fisher's 95 % interval; None for fewer than four."""
    if n < 4 or not math.isfinite(r):
        return None
    r = float(np.clip(r, -1 + 1e-12, 1 - 1e-12))
    half = 1.959964 / math.sqrt(n - 3)
    return Interval(r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half))


def _beyond(place: Component | None, sign: int) -> Ruling:
    side = "above" if sign > 0 else "below"
    rule = (
        f"Replicates if it lies {side} what 95 % of random vectors reach; does not if on the other side; else can't "
        "tell."
    )
    if place is None or place.beyond == 0:
        return Ruling(Verdict.UNCLEAR, rule)
    return Ruling(Verdict.REPLICATES if place.beyond == sign else Verdict.DIFFERS, rule)


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
