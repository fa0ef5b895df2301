"""Claims about policies that search for circuits (Khadka 2026, arXiv 2605.26343), each put to a rule.

Shares of the oracle are of the same episodes throughout, also where the paper's are not. Here are those about the tasks
that policies are trained on.
"""

from __future__ import annotations

import numpy as np

from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, or_none, shown, together
from jobs.report.drawing import Claim
from jobs.report.head_ablation import authors, matched
from jobs.report.head_ablation.claims_against import against_claims
from jobs.report.head_ablation.claims_heads import head_claims
from jobs.report.head_ablation.claims_transfer import ORACLE, chance_reaches, transfer_claims, with_seeds
from jobs.report.head_ablation.fig_learning import KEPT, REACHED, reached_untrained, read_progress, transitions_to
from jobs.report.head_ablation.searches import (
    NO_CODE,
    RANDOM,
    Found,
    Searches,
    Way,
    baseline,
    held_out_tasks,
    kinds,
    policy,
    read_found,
    said,
    trained_tasks,
)
from jobs.report.reader import Reader, StudyFacts
from jobs.report.verdicts import Ruling, Verdict, percent
from tdlens.figures import number

EARLY = 20_000
"""Ablations of training within which a policy is to come so close."""
EQUAL = 0.02
"""Shares that differ by no more count as equal."""


def claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """Every claim with its verdict."""
    searches: dict[str, dict[Way, Found]] = {}
    for task in [*trained_tasks(facts), *held_out_tasks(facts)]:
        searches[task] = or_none(lambda task=task: read_found(reader, facts, task)) or {}  # type: ignore[misc]
    single, several = kinds(facts)
    return [
        _reaches(reader, searches, facts),
        *([_adds_nothing(searches, facts), _learns_faster(reader, facts)] if several > single else []),
        *transfer_claims(reader, searches, facts),
        *head_claims(reader, facts),
        *against_claims(searches, facts),
    ]


def _reaches(reader: Reader, searches: Searches, facts: StudyFacts) -> Claim:
    single, parts, progress = kinds(facts)[0], [], or_none(lambda: read_progress(reader, facts))
    for task in trained_tasks(facts):
        found, theirs = searches[task], task in authors.TRAINED and single == authors.BEST_OF[0]
        ours, chance = policy(found, single, task), baseline(found, RANDOM, NO_CODE)
        needed = list(transitions_to(progress, task, single).values()) if progress is not None else []
        untrained = progress is not None and reached_untrained(progress, task, single)
        sooner = matched.compare(ours, chance, Found.per_step)
        parts += [
            claim(
                f"… {said(task)}: at least {percent(ORACLE)} of the best head's score in the same episodes",
                authors.unmatched(task) if theirs else NOT_PUBLISHED,
                with_seeds(ours),
                chance_reaches(verdicts.exceeds(matched.of_found(ours), ORACLE, "that share"), chance, ORACLE),
                yes="The policy finds the best head or one that is nearly as good.",
                no="The policy misses the best head too often.",
                maybe="Whether it comes so close, and closer than chance, can't be told.",
            ),
            claim(
                f"… {said(task)}: {percent(REACHED)} of it within {EARLY:,} ablations of training and from then on, "
                "each seed",
                "by 4,000" if theirs else NOT_PUBLISHED,
                _ablations(needed) if needed else UNRECORDED,
                _early(needed, untrained),
                yes="All seeds learn as fast.",
                no="No seed learns as fast.",
                maybe="A policy is there before it has learned anything." if untrained else "Some seeds learn as fast.",
            ),
            claim(
                f"… {said(task)}: sooner than random heads (mean over the steps)",
                NOT_PUBLISHED,
                shown(sooner),
                verdicts.effect(sooner, None, expected=1),
                yes="It tries good heads sooner than chance does.",
                no="Random heads are as soon as good.",
                maybe="Whether it is sooner than chance can't be told.",
            ),
        ]
    return together(
        f"On the tasks that it was trained on, a policy of K = {single} finds the head that matters most",
        NOT_PUBLISHED,
        parts,
        yes="It does, and sooner than chance.",
        no="At least one condition does not hold.",
        maybe="At least one condition is missing or not clear.",
    )


def _adds_nothing(searches: Searches, facts: StudyFacts) -> Claim:
    single, several = kinds(facts)
    parts = []
    for task in trained_tasks(facts):
        found = searches[task]
        difference = matched.compare(policy(found, several, task), policy(found, single, task), Found.at_end)
        theirs = task in authors.TRAINED and kinds(facts) == authors.BEST_OF
        ruling = verdicts.negligible(difference, EQUAL)
        parts.append(
            claim(
                f"… {said(task)}: share of the oracle at the end, K = {several} less K = {single}",
                f"0 ({number(authors.final(task), 3)} nats both)" if theirs else NOT_PUBLISHED,
                shown(difference, 3),
                chance_reaches(ruling, baseline(found, RANDOM, NO_CODE), ORACLE),
                yes="Both find equally good heads.",
                no="One of the two finds better heads.",
                maybe="Whether they differ, where chance does not come as far, can't be told.",
            )
        )
    return together(
        f"Trying the best of {several} in training adds nothing on the tasks that are trained on",
        NOT_PUBLISHED,
        parts,
        yes="It adds nothing there.",
        no="It makes a difference in at least one of them.",
        maybe="Whether it makes a difference can't be told.",
    )


def _learns_faster(reader: Reader, facts: StudyFacts) -> Claim:
    single, several = kinds(facts)
    progress, parts = or_none(lambda: read_progress(reader, facts)), []
    for task in trained_tasks(facts):
        needed = [
            list(transitions_to(progress, task, k).values()) if progress is not None else [] for k in (several, single)
        ]
        untrained = progress is not None and any(reached_untrained(progress, task, k) for k in (several, single))
        ours = "; ".join(f"K = {k}: {_ablations(values)}" for k, values in zip((several, single), needed, strict=True))
        theirs = task in authors.TRAINED and kinds(facts) == authors.BEST_OF
        parts.append(
            claim(
                f"… {said(task)}: ablations in training until {percent(REACHED)} of the oracle and from then on, each "
                "seed",
                "K = 5 by 400, K = 1 by 4,000" if theirs else NOT_PUBLISHED,
                ours if all(needed) else UNRECORDED,
                _sooner_always(needed[0], needed[1], kinds(facts), untrained),
                yes=f"Every seed of K = {several} gets there before any of K = {single}.",
                no=f"Every seed of K = {single} gets there before any of K = {several}.",
                maybe="A policy reaches it before it has learned anything: so many heads are tried."
                if untrained
                else "The seeds of both overlap.",
            )
        )
    return together(
        f"With K = {several} a policy learns in fewer steps, evaluated as it was trained",
        NOT_PUBLISHED,
        parts,
        yes="It does; that each of its steps tries more heads is part of why.",
        no="At least on one task it does not.",
        maybe="Whether it does can't be told.",
    )


def _ablations(needed: list[float]) -> str:
    return ", ".join("never" if np.isinf(one) else number(one, 0) for one in sorted(needed))


def _early(needed: list[float], untrained: bool) -> Ruling:
    rule = (
        f"Replicates if every seed needs at most {EARLY:,} ablations, {KEPT}; does not if none does; else, or if one "
        "is there before it has learned anything, can't tell."
    )
    within = [one <= EARLY for one in needed]
    if untrained or not within or (any(within) and not all(within)):
        return Ruling(Verdict.UNCLEAR, rule)
    return Ruling(Verdict.REPLICATES if all(within) else Verdict.DIFFERS, rule)


def _sooner_always(first: list[float], second: list[float], trained: tuple[int, int], untrained: bool) -> Ruling:
    """Whether every seed of one kind needs less than any of the other: with three seeds there is no interval."""
    rule = (
        f"Replicates if every seed of K = {trained[1]} needs fewer than any of K = {trained[0]}, {KEPT}; does not if "
        "every seed needs more than any; else, or if one is there before it has learned anything, can't tell."
    )
    if not first or not second or untrained:
        return Ruling(Verdict.UNCLEAR, rule)
    if max(first) < min(second):
        return Ruling(Verdict.REPLICATES, rule)
    return Ruling(Verdict.DIFFERS if min(first) > max(second) else Verdict.UNCLEAR, rule)
