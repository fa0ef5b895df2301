"""Claims about which heads are found: those that are known, those that are redundant, those that were planted."""

from __future__ import annotations

import pandas as pd
from scipy import stats

from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, or_none, together
from jobs.report.drawing import Claim
from jobs.report.head_ablation import authors
from jobs.report.head_ablation.fig_known import SWEEP, Known, label_of, read_known
from jobs.report.head_ablation.fig_pairs import read_pairs, widened_pairs
from jobs.report.head_ablation.fig_planted import Planted, read_planted
from jobs.report.head_ablation.heads import PUBLISHED, Overlap, read_labels, read_scores
from jobs.report.head_ablation.searches import kinds, said, trained_tasks
from jobs.report.reader import Reader, StudyFacts
from jobs.report.verdicts import Ruling, Verdict, percent
from tdlens.figures import number

NONE_KNOWN = "no head is known"
ALPHA = 0.05
"""Largest p that counts as more than chance."""
NEAR = 0.3
"""Nats by which the damage of a head of GPT-2 small may differ from the published."""
HIDDEN = 0.1
"""Largest share of what twins lose together that one of them may lose alone to count as hidden."""


def head_claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """What is found, what is hidden, and what the models tell whose circuit is known."""
    return [
        *([_sweep(reader, facts)] if _is_published(reader, facts) else []),
        _known(reader, facts),
        _movers(reader, facts),
        _pairs(reader, facts),
        *_planted(reader),
    ]


def _is_published(reader: Reader, facts: StudyFacts) -> bool:
    """Whether the weights are those that publications name heads of."""
    labels = or_none(lambda: read_labels(reader, facts))
    return labels is not None and bool(labels["label"].str.startswith(PUBLISHED).any())


def _sweep(reader: Reader, facts: StudyFacts) -> Claim:
    scores, theirs = or_none(lambda: read_scores(reader, facts)), authors.single_heads()
    damages = pd.Series(dtype=float)
    if scores is not None:
        mine = scores[scores["task"] == "induction"].set_index("name")["task_damage"]
        damages = mine.sort_values(ascending=False, kind="stable").astype(float)
    first = damages.head(len(theirs))
    worst = max((abs(damages[name] - theirs[name]) for name in theirs if name in damages.index), default=None)
    return claim(
        "The four heads whose ablation costs most on induction are those that are published, and cost as much",
        ", ".join(f"{name} {number(value)}" for name, value in theirs.items()),
        ", ".join(f"{name} {number(value)}" for name, value in first.items()) or UNRECORDED,
        _same_heads(set(first.index), set(theirs), worst),
        yes="The ablation is the paper's.",
        no="The ablation, the prompts or the model are not the paper's; no other row can be trusted until they are.",
        maybe="",
    )


def _same_heads(ours: set[str], theirs: set[str], worst: float | None) -> Ruling:
    rule = (
        f"Replicates if the first {len(theirs)} are the same heads and no damage differs by more than {NEAR:g} nats; "
        "does not if a head is another or a damage differs by more."
    )
    if worst is None:
        return Ruling(Verdict.UNCLEAR, rule)
    return Ruling(Verdict.REPLICATES if ours == theirs and worst <= NEAR else Verdict.DIFFERS, rule)


def _known(reader: Reader, facts: StudyFacts) -> Claim:
    single, parts = kinds(facts)[0], []
    for task in trained_tasks(facts):
        known = or_none(lambda task=task: read_known(reader, facts, task))  # type: ignore[misc]
        for ranked, named in ((SWEEP, "of the highest score"), (label_of(single), f"that K = {single} tries first")):
            found = known.overlap(ranked) if known is not None else None
            theirs = authors.overlap(task, "oracle" if ranked == SWEEP else f"k{single}")
            unknown = known is not None and not known.known
            parts.append(
                claim(
                    f"… {said(task)}: among the heads {named}",
                    theirs or NOT_PUBLISHED,
                    found.text if found is not None else NONE_KNOWN if unknown else UNRECORDED,
                    _beyond_chance(found),
                    yes="More of them are known than chance would bring.",
                    no="No more of them are known than chance would bring.",
                    maybe="No head of this model is known to play a part in it."
                    if unknown
                    else "They aren't enough to tell them from chance.",
                )
            )
    return together(
        "What is found are heads that are known to play a part in the task",
        NOT_PUBLISHED,
        parts,
        yes="Known heads are among the first, by score and by the policy's order.",
        no="In at least one task they are not.",
        maybe="Not all rankings can be told from chance.",
    )


def _beyond_chance(found: Overlap | None) -> Ruling:
    rule = (
        f"Replicates if so many known heads or more would be among as many heads drawn by chance with p ≤ {ALPHA:g} "
        "(hypergeometric); does not if there are fewer than chance brings on average; else can't tell."
    )
    if found is None:
        return Ruling(Verdict.UNCLEAR, rule)
    if found.p <= ALPHA:
        return Ruling(Verdict.REPLICATES, rule)
    return Ruling(Verdict.DIFFERS if len(found.hits) < found.expected else Verdict.UNCLEAR, rule)


def _movers(reader: Reader, facts: StudyFacts) -> Claim:
    single = kinds(facts)[0]
    known = or_none(lambda: read_known(reader, facts, "ioi"))
    counts = _by_redundancy(known, label_of(single)) if known is not None else None
    return claim(
        "IOI: redundant heads (name movers, negative and backup ones) are found less often than other known heads",
        _rates(*authors.classes()) if single == authors.BEST_OF[0] else NOT_PUBLISHED,
        _rates(*counts) if counts is not None else NONE_KNOWN if known is not None else UNRECORDED,
        _rarer(counts),
        yes="Redundant heads are found less often.",
        no="Redundant heads are found as often.",
        maybe="With so few heads, if any, the two can't be told apart; nor can the published counts.",
    )


Counts = tuple[tuple[int, int], tuple[int, int]]
"""Found and known: of redundant parts, and of others."""


def _by_redundancy(known: Known, ranked: str) -> Counts | None:
    found = known.overlap(ranked)
    movers = {name for part, names in known.parts.items() if part.endswith(authors.MOVER) for name in names}
    others = known.known - movers
    if found is None or not movers or not others:
        return None
    hits = set(found.hits)
    return (len(hits & movers), len(movers)), (len(hits & others), len(others))


def _fisher(counts: Counts) -> float:
    table = [[found, known - found] for found, known in counts]
    return float(stats.fisher_exact(table, alternative="less").pvalue)


def _rates(redundant: tuple[int, int], others: tuple[int, int]) -> str:
    p = _fisher((redundant, others))
    return f"{redundant[0]} of {redundant[1]} against {others[0]} of {others[1]} (Fisher, p = {p:.2g})"


def _rarer(counts: Counts | None) -> Ruling:
    rule = (
        f"Replicates if the share of redundant heads among the first of the policy's order is lower with p ≤ {ALPHA:g} "
        "(Fisher's exact test, one-sided); does not if it is as high or higher; else can't tell."
    )
    if counts is None:
        return Ruling(Verdict.UNCLEAR, rule)
    if _fisher(counts) <= ALPHA:
        return Ruling(Verdict.REPLICATES, rule)
    (found, known), (others, all_others) = counts
    as_often = found > 0 and found / known >= others / all_others
    return Ruling(Verdict.DIFFERS if as_often else Verdict.UNCLEAR, rule)


def _pairs(reader: Reader, facts: StudyFacts) -> Claim:
    pairs = (or_none(lambda: read_pairs(reader, facts)) or {}).get("ioi", [])
    ours = UNRECORDED
    if pairs:
        best = max(pairs, key=lambda pair: pair.hidden.value)
        ours = (
            f"{best.name} with {best.other}: {number(best.damage)} nats, of which {best.excess.text()} beyond the sum "
            f"of both; {len(pairs)} pairs"
        )
    return claim(
        "IOI: heads stand in for each other, so that single ablation hides them",
        NOT_PUBLISHED,
        ours,
        verdicts.any_exceeds(widened_pairs(pairs, "hidden"), 0.0, "what shows alone (0)"),
        yes="Of at least one pair single ablation shows less than half.",
        no="Of no pair single ablation shows less than half.",
        maybe="Of no pair single ablation clearly shows less than half.",
    )


def _planted(reader: Reader) -> list[Claim]:
    models = or_none(lambda: read_planted(reader)) or []
    searched = [one for one in models if len(one.of("circuit"))]
    picks = "; ".join(f"{one.model.replace('_', ' ')}: {_picks(one)}" for one in searched)
    twins = [one.twins for one in models if one.twins is not None]
    alone = "; ".join(f"{number(single)} nats alone, {number(both)} together" for single, both in twins)
    return [
        claim(
            "In models whose circuit was written into the weights, searches try the circuit's heads first",
            NOT_PUBLISHED,
            picks or UNRECORDED,
            _all_first([one.found_first for one in searched]),
            yes="In each model every head of the circuit is tried before any other.",
            no="In at least one model another head is tried before one of the circuit.",
            maybe="The search wasn't run on these models.",
        ),
        claim(
            "… and a head with a twin that stands in for it hides from single ablation",
            NOT_PUBLISHED,
            alone or UNRECORDED,
            _hidden(twins),
            yes="Alone either twin costs next to nothing, both together do.",
            no="Single ablation shows at least one of the twins.",
            maybe="",
        ),
    ]


def _picks(one: Planted) -> str:
    inside, outside = one.of("circuit")["found_rank"].max(), one.of("other")["found_rank"].min()
    return f"the circuit's by pick {number(inside, 1)}, others from {number(outside, 1)}"


def _all_first(first: list[bool | None]) -> Ruling:
    rule = (
        "Replicates if in each model the last head of the circuit is tried before the first of no use, in the mean "
        "over episodes; does not if in one it isn't; else can't tell."
    )
    if False in first:
        return Ruling(Verdict.DIFFERS, rule)
    return Ruling(Verdict.REPLICATES if first and None not in first else Verdict.UNCLEAR, rule)


def _hidden(twins: list[tuple[float, float]]) -> Ruling:
    rule = (
        f"Replicates if no twin's damage alone is above {percent(HIDDEN)} of that of both together; does not if one is."
    )
    if not twins:
        return Ruling(Verdict.UNCLEAR, rule)
    hides = all(both > 0 and single <= HIDDEN * both for single, both in twins)
    return Ruling(Verdict.REPLICATES if hides else Verdict.DIFFERS, rule)
