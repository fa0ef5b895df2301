"""Claims about a functional welfare axis (Han, Chalmers & Izmailov 2026, arXiv 2605.30232), each put to a rule.

Here are those about trainings and the vectors' geometry; a claim that no control was asked about is kept apart from
the whole pattern, which stands at the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, or_none, shown, together
from jobs.report.drawing import Claim
from jobs.report.reader import Reader, StudyFacts
from jobs.report.verdicts import Ruling, Verdict
from jobs.report.welfare_axis import authors
from jobs.report.welfare_axis.claims_bridge import bridge_claim
from jobs.report.welfare_axis.claims_correctness import correctness_claim
from jobs.report.welfare_axis.claims_emotions import emotion_claims
from jobs.report.welfare_axis.claims_steering import steering_claims
from jobs.report.welfare_axis.fig_checkpoints import read_line, trend
from jobs.report.welfare_axis.fig_tracking import Tracked, finals, read_tracked
from jobs.report.welfare_axis.trainings import (
    Returns,
    Training,
    above_naive,
    primary,
    read_progress,
    read_returns,
    rise,
    trainings,
)
from jobs.report.welfare_axis.vectors import (
    CONCEPTS,
    Owner,
    Passed,
    apart,
    cosines,
    naive_of,
    of_model,
    read_cosines,
    read_vectors,
    told_apart,
)
from tdlens.figures import number

OPPOSITE, NOT_OPPOSITE = -0.8, -0.3
"""Least cosine of Gold and Mold, after the maze at most and before it at least."""
TELLS = 1.5
"""Cohen's d of maze finals after the maze."""
HALF = 0.5
"""Share of an effect that a control is to stop short of."""
GROWS = 0.7
"""Rank correlation over checkpoints from which on something grows with the return."""
FEWEST = 4
"""Models along a training below which nothing is said of its course."""


def claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """Every claim with its verdict."""
    progress = or_none(lambda: read_progress(reader, facts)) or {}
    returns = or_none(lambda: read_returns(reader, facts)) or {}
    geometry = Geometry(or_none(lambda: read_vectors(reader)), or_none(lambda: read_cosines(reader)), facts)
    tracked = or_none(lambda: read_tracked(reader)) or []
    several = trainings(facts)
    learned = [one for one in several if not one.shuffled]
    maze = [_learns(one, progress, returns) for one in learned]
    return [
        *maze,
        *(_learns_nothing(one, primary(facts), progress, returns) for one in several if one.shuffled),
        *(_apart(one, geometry) for one in learned),
        *(_not_apart(one, primary(facts), geometry) for one in several if one.shuffled),
        _tells(primary(facts), tracked),
        correctness_claim(primary(facts), tracked),
        _grows(or_none(lambda: read_line(reader, facts)), primary(facts)),
        *steering_claims(reader, facts, _learns(several[0], progress, returns)),
        *emotion_claims(reader, facts),
        bridge_claim(reader, facts),
    ]


def _learns(one: Training, progress: dict[str, pd.DataFrame], returns: Returns) -> Claim:
    parts = []
    if one.plays:
        gained = rise(progress[one.name]) if one.name in progress else None
        parts.append(
            claim(
                "… its return rises, last fifth of the steps less the first",
                NOT_PUBLISHED,
                shown(gained, 1),
                verdicts.effect(gained, None, expected=1),
                yes="It is rewarded better at the end than at first.",
                no="It is rewarded no better at the end.",
                maybe="Whether its return rises can't be told.",
            )
        )
    lead = above_naive(returns, one)
    parts.append(
        claim(
            "… in mazes that it never saw it gets more than the naive model in the same mazes",
            NOT_PUBLISHED,
            shown(lead, 1),
            verdicts.effect(lead, None, expected=1),
            yes="What it learned holds in other mazes.",
            no="In other mazes it is no better.",
            maybe="Whether it is better in other mazes can't be told.",
        )
    )
    return together(
        f"The maze is learned: {one.said}",
        NOT_PUBLISHED,
        parts,
        yes="The model learns the maze.",
        no="The model doesn't learn the maze; what follows says nothing about the paper.",
        maybe="Whether the model learns the maze can't be told.",
    )


def _learns_nothing(one: Training, first: Training, progress: dict[str, pd.DataFrame], returns: Returns) -> Claim:
    both = [rise(progress[name]) if name in progress else None for name in (one.name, first.name)]
    leads = [above_naive(returns, training) for training in (one, first)]
    parts = [
        claim(
            f"… {said}: less than half of what {first.name} gains",
            NOT_PUBLISHED,
            f"{shown(ours, 1)} against {shown(theirs, 1)}",
            verdicts.stops_short(ours, theirs, HALF, f"what {first.name} gains"),
            yes="It gains far less.",
            no="It gains as much.",
            maybe="Whether it gains less can't be told.",
        )
        for said, (ours, theirs) in (("in training", both), ("in held-out mazes", leads))
    ]
    return together(
        f"With rewards shuffled nothing of the kind is learned: {one.name}",
        NOT_PUBLISHED,
        parts,
        yes="The control doesn't learn the maze.",
        no="The control learns it too: rewards were not shuffled enough, or aren't what is learned from.",
        maybe="Whether the control learns it can't be told.",
    )


@dataclass(frozen=True)
class Geometry:
    """Vectors and their cosines; None where not recorded."""

    vectors: pd.DataFrame | None
    angles: pd.DataFrame | None
    facts: StudyFacts

    def least(self, owner: Owner) -> float | None:
        """Least cosine of a model's two vectors over blocks in which both tiles are told apart.

        Returns:
            NaN where there is no such block; None where it isn't recorded.
        """
        if self.vectors is None or self.angles is None or of_model(self.vectors, owner).empty:
            return None
        place = apart(cosines(self.angles, owner), told_apart(of_model(self.vectors, owner), self.facts))
        return math.nan if place is None else place.least


GATED = (
    " Only blocks count in which both vectors separate held-out trajectories (AUROC above 0.5, 95 % interval of d "
    "above 0, widened for the blocks): elsewhere a cosine is that of noise. No such block: can't tell."
)
NOTHING = "Its vectors tell the tiles apart in no block, so that their angle says nothing."


def _gated(ours: float | None, low: float, high: float) -> Ruling:
    ruling = verdicts.between(ours, low, high)
    return Ruling(ruling.verdict, ruling.rule + GATED)


def _apart(one: Training, geometry: Geometry) -> Claim:
    theirs = authors.geometry(one)
    after, before = geometry.least(Owner(one, one.variant)), geometry.least(naive_of(one))
    parts = [
        claim(
            f"… after the maze the least cosine over blocks is below {number(OPPOSITE, 1)}",
            NOT_PUBLISHED if theirs is None else number(theirs.least, 3),
            _told(after),
            _gated(after, -1.0, OPPOSITE),
            yes="In some block the vectors are nearly opposite.",
            no="In no block are the vectors nearly opposite.",
            maybe=NOTHING,
        ),
        claim(
            f"… before it, above {number(NOT_OPPOSITE, 1)}",
            "−0.125 to −0.229 (seven controls)",
            _told(before),
            _gated(before, NOT_OPPOSITE, 1.0),
            yes="Before the maze they point nowhere near apart.",
            no="They point apart before the maze, too.",
            maybe=NOTHING,
        ),
    ]
    return together(
        f"Gold and Mold point apart after the maze and not before it: {one.said}",
        NOT_PUBLISHED,
        parts,
        yes="They do, after this one training.",
        no="At least one of the two does not hold.",
        maybe="Part of it is not recorded, or was read from a model whose vectors don't tell the tiles apart.",
    )


def _not_apart(one: Training, first: Training, geometry: Geometry) -> Claim:
    after, theirs = (geometry.least(Owner(training, training.variant)) for training in (one, first))
    lacks = theirs is None or not theirs < OPPOSITE
    return claim(
        f"… and not after a training on shuffled rewards: {one.name}, least cosine above {number(OPPOSITE, 1)}",
        NOT_PUBLISHED,
        f"{_told(after)}; {first.name} {_told(theirs)}",
        verdicts.unless(_gated(after, OPPOSITE, 1.0), lacks, f"{first.name} isn't below {number(OPPOSITE, 1)} either"),
        yes="This training, without reward that means anything, doesn't turn them against each other.",
        no="Training turns them against each other whatever is rewarded.",
        maybe=f"The control says nothing: {first.name} lacks it as well, or the tiles aren't told apart.",
    )


def _told(value: float | None) -> str:
    if value is None:
        return UNRECORDED
    return "tiles not told apart" if math.isnan(value) else number(value, 3)


def _tells(one: Training, tracked: list[Tracked]) -> Claim:
    parts = []
    for concept in CONCEPTS:
        after = finals(tracked, one, concept, source="trained", trained=True)
        others = {
            "the naive model by the same vector": finals(tracked, one, concept, source="trained", trained=False),
            "the naive model by its own vector": finals(tracked, one, concept, source="untrained", trained=False),
        }
        theirs = [authors.tracking(one, concept, trained=trained) for trained in (True, False)]
        published = NOT_PUBLISHED if theirs[1] is None else f"{number(theirs[0])} against {number(theirs[1])}"
        parts.append(
            claim(
                f"… {concept.capitalize()}: Cohen's d above {number(TELLS, 1)}",
                NOT_PUBLISHED if theirs[0] is None else number(theirs[0]),
                shown(after),
                verdicts.exceeds(after, TELLS, "that"),
                yes="Trajectories that end on the tile stand out.",
                no="They don't stand out as far.",
                maybe="Whether they stand out as far can't be told.",
            )
        )
        parts += [
            claim(
                f"… {concept.capitalize()}: more than in {said}",
                known,
                f"{shown(after)} against {shown(before)}",
                verdicts.beyond(after, before, "the naive model"),
                yes="The maze makes them stand out.",
                no="They stood out before the maze, as far or farther.",
                maybe="Whether the maze adds anything can't be told.",
            )
            for (said, before), known in zip(others.items(), (published, NOT_PUBLISHED), strict=True)
        ]
    return together(
        f"Activations on a tile lie along its vector, trajectories that made no vector and chose no block: {one.name}",
        NOT_PUBLISHED,
        parts,
        yes="They do, and it is the maze's doing.",
        no="At least one condition does not hold.",
        maybe="At least one condition is missing or not clear.",
    )


def _grows(line: list[Passed] | None, one: Training) -> Claim:
    named = (("d", "the separation (d of the lesser concept) grows", 1), ("least", "the least cosine falls", -1))
    parts = [
        claim(
            f"… {said} with the return over checkpoints",
            "grows (figure)" if name == "d" else NOT_PUBLISHED,
            f"rank correlation {number(trend(line, name))}, {_known(line, name)} models" if line else UNRECORDED,
            _monotone(line, name, sign),
            yes="It does.",
            no="It does not.",
            maybe="Whether it does can't be told.",
        )
        for name, said, sign in named
    ]
    return together(
        f"Along the training the vectors separate and turn apart as the return grows: {one.name}",
        NOT_PUBLISHED,
        parts,
        yes="They do; that checkpoints follow each other makes this weak evidence.",
        no="At least one of the two does not.",
        maybe="At least one of the two can't be told.",
    )


def _known(line: list[Passed], name: str) -> int:
    return sum(math.isfinite(getattr(one, name)) and math.isfinite(one.points) for one in line)


def _monotone(line: list[Passed] | None, name: str, sign: int) -> Ruling:
    rule = (
        f"Replicates if Spearman's rank correlation with the return is {'at least' if sign > 0 else 'at most'} "
        f"{number(sign * GROWS, 1)}; does not if its sign is the other; else, or with fewer than {FEWEST} models "
        "of which it is known, can't tell. No interval: checkpoints of one training are not independent."
    )
    rho = sign * trend(line, name) if line is not None and _known(line, name) >= FEWEST else math.nan
    if not math.isfinite(rho):
        return Ruling(Verdict.UNCLEAR, rule)
    if rho >= GROWS:
        return Ruling(Verdict.REPLICATES, rule)
    return Ruling(Verdict.DIFFERS if rho < 0 else Verdict.UNCLEAR, rule)
