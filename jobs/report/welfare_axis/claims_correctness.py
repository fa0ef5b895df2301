"""The claim about what a model holds after it was told whether its answer was right."""

from __future__ import annotations

from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, claim, shown, together
from jobs.report.drawing import Claim
from jobs.report.verdicts import Interval
from jobs.report.welfare_axis import authors
from jobs.report.welfare_axis.fig_tracking import CORRECTNESS, Tracked, finals
from jobs.report.welfare_axis.trainings import NAIVE, Training
from jobs.report.welfare_axis.vectors import SIGNS
from tdlens.figures import number


def correctness_claim(one: Training, tracked: list[Tracked]) -> Claim:
    """Gold after *That's right*, Mold after *That's wrong*, in the model after the maze and before it."""
    parts = []
    for concept, sign in SIGNS.items():
        stands_out = finals(tracked, one, concept, source="trained", trained=True)
        for trained in (True, False):
            d = _right_less_wrong(tracked, one, concept, trained=trained)
            parts.append(
                claim(
                    f"… {concept.capitalize()}: d of right less wrong {'above' if sign > 0 else 'below'} 0, "
                    f"the trained model's vector in the {'trained' if trained else 'naive'} model",
                    _published(concept, sign, trained=trained),
                    shown(d),
                    verdicts.unless(
                        verdicts.effect(d, None, expected=sign),
                        stands_out is None or not stands_out.low > 0,
                        "activations on the tile itself don't lie along the trained model's vector (maze finals), so "
                        "that it is no vector of the tile",
                    ),
                    yes=f"More {concept.capitalize()} where the answer was {'right' if sign > 0 else 'wrong'}.",
                    no="The other way round.",
                    maybe="Which way it goes can't be told.",
                )
            )
    return together(
        "After “That's right” activations lie farther along Gold, after “That's wrong” along Mold, before the maze as "
        f"after it: {one.name}",
        NOT_PUBLISHED,
        parts,
        yes="They do, before the maze too, so that it isn't the maze's doing. Where two texts differ by a word almost "
        "any direction tells them apart, so that the signs alone say something, which chance gets right once in four "
        "times, and once in two where the vectors are opposite.",
        no="At least one goes the other way round.",
        maybe="At least one isn't recorded or can't be told.",
    )


def _right_less_wrong(tracked: list[Tracked], one: Training, concept: str, *, trained: bool) -> Interval | None:
    place = (one.name, CORRECTNESS, concept, one.name if trained else NAIVE, "trained")
    found = (each for each in tracked if (each.training, each.panel, each.concept, each.reader, each.source) == place)
    return next((each.d for each in found), None)


def _published(concept: str, sign: int, *, trained: bool) -> str:
    told = authors.correctness(concept, trained=trained)
    named = ", ".join(f"{panel} {number(sign * d)}" for panel, d in told.items())
    return f"Qwen3-4B-Base: {named}" if told else NOT_PUBLISHED
