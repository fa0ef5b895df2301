"""Claims about policies that search for circuits (Khadka 2026, arXiv 2605.26343), each put to a rule.

Shares of the oracle are of the same episodes throughout, also where the paper's are not.
"""

from __future__ import annotations

import numpy as np

from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, or_none, shown, together
from jobs.report.drawing import Claim
from jobs.report.head_ablation import authors, matched
from jobs.report.head_ablation.claims_against import against_claims
from jobs.report.head_ablation.claims_heads import head_claims
from jobs.report.head_ablation.fig_learning import REACHED, read_progress, transitions_to
from jobs.report.head_ablation.searches import (
    NO_CODE,
    RANDOM,
    Found,
    Way,
    baseline,
    held_out_tasks,
    kinds,
    policy,
    read_found,
    resampled,
    said,
    titled,
    trained_tasks,
)
from jobs.report.reader import Reader, StudyFacts
from jobs.report.verdicts import Ruling, Verdict, percent
from tdlens.figures import number

ORACLE = 0.95
"""Share of the oracle that counts as reaching it."""
TRANSFERRED = 0.85
"""Share that counts as transfer to a task that was not trained on."""
EARLY = 20_000
"""Ablations of training within which a policy is to come so close."""
EQUAL = 0.02
"""Shares that differ by no more count as equal."""

Searches = dict[str, dict[Way, Found]]


def claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """Every claim with its verdict."""
    searches: Searches = {}
    for task in [*trained_tasks(facts), *held_out_tasks(facts)]:
        searches[task] = or_none(lambda task=task: read_found(reader, facts, task)) or {}  # type: ignore[misc]
    return [
        _reaches(reader, searches, facts),
        _adds_nothing(searches, facts),
        _learns_faster(reader, facts),
        *[_transfers(searches, facts, task) for task in held_out_tasks(facts)],
        *[_told(searches, facts, task) for task in held_out_tasks(facts)],
        *head_claims(reader, facts),
        *against_claims(searches, facts),
    ]


def _reaches(reader: Reader, searches: Searches, facts: StudyFacts) -> Claim:
    single, parts, progress = kinds(facts)[0], [], or_none(lambda: read_progress(reader, facts))
    for task in trained_tasks(facts):
        found, count = searches[task], resampled(facts)
        ours, chance = policy(found, single, task), baseline(found, RANDOM, NO_CODE)
        needed = list(transitions_to(progress, task, single).values()) if progress is not None else []
        sooner = matched.compare(ours, chance, count, Found.per_step)
        parts += [
            claim(
                f"… {said(task)}: at least {percent(ORACLE)} of the best head's score in the same episodes",
                authors.unmatched(task) if task in authors.TRAINED else NOT_PUBLISHED,
                _with_seeds(ours, count),
                verdicts.exceeds(matched.of_found(ours, count), ORACLE, "that share"),
                yes="The policy finds the best head or one that is nearly as good.",
                no="The policy misses the best head too often.",
                maybe="Whether it comes so close can't be told.",
            ),
            claim(
                f"… {said(task)}: {percent(REACHED)} of it within {EARLY:,} ablations of training, each seed",
                "by 4,000" if task in authors.TRAINED else NOT_PUBLISHED,
                _ablations(needed) if needed else UNRECORDED,
                _early(needed),
                yes="All seeds learn as fast.",
                no="No seed learns as fast.",
                maybe="Some seeds learn as fast.",
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
        difference = matched.compare(
            policy(found, several, task), policy(found, single, task), resampled(facts), Found.at_end
        )
        theirs = number(authors.final(task), 3) if task in authors.TRAINED else None
        parts.append(
            claim(
                f"… {said(task)}: share of the oracle at the end, K = {several} less K = {single}",
                f"0 ({theirs} nats both)" if theirs else NOT_PUBLISHED,
                shown(difference, 3),
                verdicts.negligible(difference, EQUAL),
                yes="Both find equally good heads.",
                no="One of the two finds better heads.",
                maybe="Whether they differ can't be told.",
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
        ours = "; ".join(f"K = {k}: {_ablations(values)}" for k, values in zip((several, single), needed, strict=True))
        parts.append(
            claim(
                f"… {said(task)}: ablations in training until {percent(REACHED)} of the oracle, each seed",
                "K = 5 by 400, K = 1 by 4,000" if task in authors.TRAINED else NOT_PUBLISHED,
                ours if all(needed) else UNRECORDED,
                _sooner_always(needed[0], needed[1], kinds(facts)),
                yes=f"Every seed of K = {several} gets there before any of K = {single}.",
                no=f"Every seed of K = {single} gets there before any of K = {several}.",
                maybe="The seeds of both overlap."
                if all(min(one, default=1) for one in needed)
                else "A policy reaches it before it has learned anything: so many heads are tried.",
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


def _transfers(searches: Searches, facts: StudyFacts, task: str) -> Claim:
    (single, several), count = kinds(facts), resampled(facts)
    found, theirs = searches[task], task == authors.HELD_OUT
    many, one = (policy(found, k, NO_CODE) for k in (several, single))
    chance = baseline(found, RANDOM, NO_CODE)
    lead, start = (matched.compare(a, b, count, Found.at_end) for a, b in ((many, one), (one, chance)))
    published = f"{number(100 * (authors.matched(5, NO_CODE) or 0), 1)} % (printed: 96.7 %, unmatched)"
    gain = (authors.matched(5, NO_CODE) or 0) - (authors.matched(1, NO_CODE) or 0)
    excess = (authors.printed(1, NO_CODE) or 0) - authors.random_share()
    parts = [
        claim(
            f"… K = {several}: at least {percent(TRANSFERRED)} of the best head's score in the same episodes",
            published if theirs else NOT_PUBLISHED,
            _with_seeds(many, count),
            verdicts.exceeds(matched.of_found(many, count), TRANSFERRED, "that share"),
            yes="It finds the best head of a task that it never saw, or one nearly as good.",
            no="It stays further behind the best head.",
            maybe="Whether it comes so close can't be told.",
        ),
        claim(
            f"… more than K = {single}",
            f"by {number(gain)} of the oracle" if theirs else NOT_PUBLISHED,
            shown(lead),
            verdicts.effect(lead, gain if theirs else None, expected=1),
            yes=f"Training with the best of {several} transfers better.",
            no=f"Training with the best of {several} transfers no better.",
            maybe="Whether the two differ can't be told.",
        ),
        claim(
            f"… and K = {single} more than random heads",
            f"by {number(excess)} of the oracle (unmatched)" if theirs else NOT_PUBLISHED,
            shown(start),
            verdicts.effect(start, None, expected=1),
            yes="What was learned helps with this task.",
            no="What was learned misleads in this task.",
            maybe="Whether what was learned helps can't be told.",
        ),
    ]
    return together(
        f"{titled(task)}, held out: told nothing, a policy trained with K = {several} finds the head that matters most",
        NOT_PUBLISHED,
        parts,
        yes="It transfers as the paper says.",
        no="At least one condition does not hold.",
        maybe="At least one condition is missing or not clear.",
    )


def _told(searches: Searches, facts: StudyFacts, task: str) -> Claim:
    several, count = kinds(facts)[1], resampled(facts)
    found, theirs = searches[task], task == authors.HELD_OUT
    kind, misled = authors.TRAINED
    told, other, nothing = (policy(found, several, code) for code in (kind, misled, NO_CODE))
    cost = matched.compare(other, nothing, count, Found.at_end)
    loss = (authors.matched(5, misled) or 0) - (authors.matched(5, NO_CODE) or 0)
    parts = [
        claim(
            f"… told {said(kind)}, at least {percent(ORACLE)} of the best head's score in the same episodes",
            f"{number(100 * (authors.matched(5, kind) or 0), 1)} % (printed: 102 %, unmatched)"
            if theirs
            else NOT_PUBLISHED,
            _with_seeds(told, count),
            verdicts.exceeds(matched.of_found(told, count), ORACLE, "that share"),
            yes=f"Told {said(kind)} it reaches the oracle.",
            no=f"Told {said(kind)} it does not reach the oracle.",
            maybe="Whether it reaches the oracle can't be told.",
        ),
        claim(
            f"… told {said(misled)}, less than told nothing",
            f"by {number(-loss)} of the oracle" if theirs else NOT_PUBLISHED,
            shown(cost),
            verdicts.effect(cost, loss if theirs else None, expected=-1),
            yes="The code of the other task misleads it.",
            no="The code of the other task does not mislead it.",
            maybe="Whether the code of the other task misleads it can't be told.",
        ),
    ]
    return together(
        f"{titled(task)}, held out: the task code decides what a policy of K = {several} finds",
        NOT_PUBLISHED,
        parts,
        yes="The code decides what it looks for.",
        no="At least one condition does not hold.",
        maybe="At least one condition is missing or not clear.",
    )


def _ablations(needed: list[float]) -> str:
    return ", ".join("never" if np.isinf(one) else number(one, 0) for one in sorted(needed))


def _early(needed: list[float]) -> Ruling:
    rule = f"Replicates if every seed needs at most {EARLY:,} ablations; does not if none does; else can't tell."
    within = [one <= EARLY for one in needed]
    if not within or (any(within) and not all(within)):
        return Ruling(Verdict.UNCLEAR, rule)
    return Ruling(Verdict.REPLICATES if all(within) else Verdict.DIFFERS, rule)


def _sooner_always(first: list[float], second: list[float], trained: tuple[int, int]) -> Ruling:
    """Whether every seed of one kind needs less than any of the other: with three seeds there is no interval."""
    rule = (
        f"Replicates if every seed of K = {trained[1]} needs fewer than any of K = {trained[0]}; does not if every "
        "seed needs more than any; else, or if one needs none at all, can't tell."
    )
    if not first or not second or min(*first, *second) == 0:
        return Ruling(Verdict.UNCLEAR, rule)
    if max(first) < min(second):
        return Ruling(Verdict.REPLICATES, rule)
    return Ruling(Verdict.DIFFERS if min(first) > max(second) else Verdict.UNCLEAR, rule)


def _with_seeds(found: Found | None, count: int) -> str:
    """A share with its interval, and each seed."""
    ours = matched.of_found(found, count)
    if ours is None or found is None:
        return UNRECORDED
    seeds = ", ".join(number(float(one.mean() / found.oracle.mean())) for one in found.at_end())
    return f"{ours.text()}; seeds {seeds}" if len(found.seeds) > 1 else ours.text()
