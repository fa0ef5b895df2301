"""What speaks against a policy: whether something simpler, or cheaper, finds as much in the same episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, claim, shown, together
from jobs.report.drawing import Claim
from jobs.report.head_ablation import matched
from jobs.report.head_ablation.searches import (
    ATTRIBUTION,
    LIST,
    MEAN,
    NO_CODE,
    Found,
    Searches,
    Way,
    baseline,
    budget_of,
    held_out_tasks,
    kinds,
    own_code,
    policy,
    said,
    titled,
    trained_tasks,
)
from jobs.report.reader import StudyFacts
from jobs.report.verdicts import Ruling


@dataclass(frozen=True)
class Rival:
    """A baseline that a policy has to beat."""

    method: str
    text: str
    by_passes: bool
    """Compared over as many forward passes, else over as many steps."""


RIVALS = (
    Rival(LIST, "A policy is more than a fixed list: it is sooner than the heads that did best in training", False),
    Rival(
        ATTRIBUTION,
        "At equal forward passes, those of its training not counted, a policy is sooner than the order of attribution "
        "patching",
        True,
    ),
    Rival(MEAN, "At equal steps it is sooner than the order of mean ablation, the sweep for it not counted", False),
)


def against_claims(searches: Searches, facts: StudyFacts) -> list[Claim]:
    """A claim for each rival, a condition a task; and what planning at evaluation does for the held-out tasks."""
    rivals, (single, several) = [_against(rival, searches, facts) for rival in RIVALS], kinds(facts)
    if several == single:
        return rivals
    return [*rivals, *[_training(searches[task], facts, task) for task in held_out_tasks(facts)]]


def _against(rival: Rival, searches: Searches, facts: StudyFacts) -> Claim:
    single, several = kinds(facts)
    parts = []
    for task in [*trained_tasks(facts), *held_out_tasks(facts)]:
        code = own_code(facts, task)
        k = several if code == NO_CODE else single
        found = searches[task]
        measure = _measure(found, rival.by_passes)
        ours, mine, theirs = None, policy(found, k, code), baseline(found, rival.method, code)
        if measure is not None:
            ours = matched.compare(mine, theirs, measure)
        told = "told nothing" if code == NO_CODE else "told so"
        parts.append(
            claim(
                f"… {said(task)}, {told}, K = {k}",
                NOT_PUBLISHED,
                shown(ours, 3),
                _winnable(verdicts.effect(ours, None, expected=1), rival, mine, theirs, budget_of(found)),
                yes="The policy is sooner.",
                no="The simpler way is sooner.",
                maybe="Neither is clearly sooner, or what the simpler way computes beforehand decides.",
            )
        )
    return together(
        rival.text,
        NOT_PUBLISHED,
        parts,
        yes="On every task the policy is sooner.",
        no="On at least one task the simpler way is sooner.",
        maybe="On at least one task the policy is not clearly sooner.",
    )


def _winnable(ruling: Ruling, rival: Rival, mine: Found | None, theirs: Found | None, budget: int | None) -> Ruling:
    """A ruling at equal passes, unless what a rival computes beforehand leaves too little even to a perfect order."""
    if not rival.by_passes:
        return ruling
    lost = False
    if mine is not None and theirs is not None and budget is not None:
        common = [one for one in mine.episodes if one in theirs.episodes]
        oracle = mine.on(tuple(common)).oracle.mean() if common else np.nan
        left = max(budget - theirs.at_once() + 1, 0) / budget  # passes at which its first head is known
        lost = bool(mine.on(tuple(common)).per_pass(budget).mean() > left * oracle + 1e-9) if common else False
    return verdicts.unless(
        ruling, lost, "what the simpler way computes beforehand would keep even a perfect order from being as soon"
    )


def _measure(found: Mapping[Way, Found], by_passes: bool) -> matched.Measure | None:
    if not by_passes:
        return Found.per_step
    budget = budget_of(found)
    return None if budget is None else lambda one: one.per_pass(budget)


def _training(found: Mapping[Way, Found], facts: StudyFacts, task: str) -> Claim:
    """Whether the transfer comes of training with several heads a step or of trying several in evaluation."""
    single, several = kinds(facts)
    measure, ours = _measure(found, by_passes=True), None
    if measure is not None:
        trained, planned = policy(found, several, NO_CODE), policy(found, single, NO_CODE, best_of=several)
        ours = matched.compare(trained, planned, measure)
    return claim(
        f"{titled(task)}, held out: told nothing, training with K = {several} does more than trying {several} heads a "
        "step at evaluation, at equal forward passes",
        NOT_PUBLISHED,
        shown(ours, 3),
        verdicts.effect(ours, None, expected=1),
        yes="It is the training that transfers, not planning.",
        no=f"Trying {several} heads a step at evaluation does more than training with as many.",
        maybe="The two can't be told apart.",
    )
