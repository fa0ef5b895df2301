"""Claims about emotion words: cosines with concept vectors, and principal components."""

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
from jobs.report.welfare_axis.emotions import Component, Words, more, of_valence, read_components, read_words
from jobs.report.welfare_axis.trainings import SHIPPED, Training, primary, trainings
from jobs.report.welfare_axis.vectors import SIGNS, Owner, naive_of, of_model, read_vectors, told_apart
from tdlens.figures import number

MIRRORED = 0.7
"""Size of the negative r of cosines with Gold and with Mold."""
CLEAR = 0.1
"""By how much an r has to differ from a control's: intervals are over words, and know nothing of other trainings."""
VALENCE = 0.7
"""r of the first principal component with valence from which on it counts as valence."""


def emotion_claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """Every claim on emotions with its verdict."""
    one = primary(facts)
    owner = Owner(one, one.variant)
    words = or_none(lambda: read_words(reader, owner))
    shuffled = next((Owner(each, each.variant) for each in trainings(facts) if each.shuffled), None)
    others = {"the naive model's own vectors": naive_of(one), "the vectors that shuffled rewards leave": shuffled}
    controls = {
        said: None if each is None else or_none(partial(read_words, reader, each)) for said, each in others.items()
    }
    best = of_valence(reader)
    whose = [owner, *others.values()]

    def along(component: int) -> list[dict[str, Component]]:
        return [
            {} if each is None else or_none(partial(read_components, reader, each, component)) or {} for each in whose
        ]

    shipped = facts.config["model"]["name"] == SHIPPED
    of_words = [
        _mirrored(words, controls, one),
        _pleasant(words, controls),
        _first_component(along(1), words, one, shipped=shipped),
        *([_valence_component(best, along(best))] if best != 1 else []),
    ]
    vectors = or_none(lambda: read_vectors(reader))
    if words is not None and vectors is not None:
        told = told_apart(of_model(vectors, owner), facts)
        of_words = [_void(each) if not told.issuperset(words.blocks.values()) else each for each in of_words]
    return of_words


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
    several: list[dict[str, Component]], words: Words | None, one: Training, *, shipped: bool
) -> Claim:
    valence, theirs = None, authors.projections(one)
    if several[0] and words is not None:
        valence = fisher(next(iter(several[0].values())).valence_r, words.cells)
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
    published = {
        concept: NOT_PUBLISHED if theirs is None else f"{number(theirs[concept])} (its stream's units)"
        for concept in SIGNS
    }
    return _opposite("the first principal component of emotions", several, parts, published)


def _valence_component(component: int, several: list[dict[str, Component]]) -> Claim:
    """Where valence isn't the first component, the question can be put to the one that it is."""
    place = next(iter(several[0].values()), None)
    told = (
        "" if place is None else f", r {number(place.valence_r)}, {number(100 * place.explained, 0)} % of the variance"
    )
    named = f"the component that follows valence most closely (PC{component}{told})"
    return _opposite(named, several, [], dict.fromkeys(SIGNS, NOT_PUBLISHED))


def _opposite(named: str, several: list[dict[str, Component]], parts: list[Claim], published: dict[str, str]) -> Claim:
    """Both vectors on a component of emotions.

    Args:
        named: the component in words.
        several: places on it by concept, of the first training and of its controls.
        parts: what else has to hold.
        published: places by concept.
    """
    parts = list(parts)
    for concept, sign in SIGNS.items():
        place, *controls = (each.get(concept) for each in several)
        parts.append(
            claim(
                f"… {concept.capitalize()} projects {'above' if sign > 0 else 'below'} random vectors of its norm",
                published[concept],
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
        parts.append(_farther_out(concept, sign, place, controls))
    return together(
        f"On {named} Gold and Mold lie on opposite sides",
        NOT_PUBLISHED,
        parts,
        yes="They do, beyond isotropic random vectors and both controls; that holds of this one training.",
        no="At least one condition does not hold.",
        maybe="At least one condition is missing or not clear.",
    )


def _farther_out(concept: str, sign: int, place: Component | None, controls: list[Component | None]) -> Claim:
    rule = (
        f"Replicates if the cosine with the component is {'above' if sign > 0 else 'below'} 0, that of the naive "
        "model's own vector and that of shuffled rewards; does not if it isn't; can't tell without both. No interval: "
        "these are single vectors."
    )
    known = [each.cosine for each in controls if each is not None]
    verdict = Verdict.UNCLEAR
    if place is not None and len(known) == len(controls):
        farther = all(sign * place.cosine > sign * each for each in (0.0, *known))
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
