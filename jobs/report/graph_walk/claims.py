"""The paper's claims about graph learning (Demircan et al. 2025, arXiv 2410.01280), each put to a rule.

Latents can't be chosen on one half of the walks and scored on the other here: every walk has words of its own, and the
largest r is taken in each. So the null takes its place: what the largest of all blocks reaches with permuted walks.
"""

from __future__ import annotations

import pandas as pd

from jobs.published import headlines
from jobs.report import verdicts
from jobs.report.block_measures import SAE, STREAM, UNTRAINED, highest_of, null_of_highest, read_measures
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, or_none, shown, together
from jobs.report.claims_lesions import Cost, cost_claim, later_claim
from jobs.report.drawing import Claim
from jobs.report.graph_walk import fig5c_decoding, fig5de_correlations, fig10_cka, similarities
from jobs.report.graph_walk.accuracy import CHANCE, EARLY, overall, paired_difference, read_accuracy
from jobs.report.graph_walk.fig6a_lesion import METRIC
from jobs.report.graph_walk.groups import GROUPS, sr_lesion
from jobs.report.lesions import read_effects, read_lesions
from jobs.report.prediction import late_change, read_predictions
from jobs.report.reader import Reader, StudyFacts
from jobs.report.verdicts import Interval, Null
from tdlens.figures import number

PAPER = {name: headline.value for name, headline in headlines("td_in_llms").items()}

SOURCES = (
    (UNTRAINED, "an untrained model's dimensions"),
    ("raw", "raw dimensions"),
    ("pca", "principal components"),
    ("shuffled", "the signals of other walks"),
)


def claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """Every claim with its verdict, in the order of the paper."""
    alike = or_none(lambda: read_measures(reader, facts, ("contrast", "similarity"), similarities.SIGNALS))
    followed = or_none(lambda: read_measures(reader, facts, fig5de_correlations.MEASURES, fig5de_correlations.SIGNALS))
    aligned = or_none(lambda: read_measures(reader, facts, ("cka",), fig10_cka.SIGNALS))
    return [
        _foretells(reader, facts),
        _communities(alike),
        _similarities(alike),
        _decoding(reader, facts),
        _follows(followed, "sr", "the successor representation", (LINKS, MIXING)),
        _follows(followed, "sr_error", "the SR-TD error", (("surprise", "surprise"),)),
        _aligned(aligned, "sr", "the successor representation", (LINKS, MIXING)),
        _aligned(aligned, "sr_error", "the SR-TD error", (("surprise", "surprise"),)),
        *_lesions(reader, facts),
    ]


LINKS = ("transition", "the transition matrix")
MIXING = ("mixing", "neighbour mixing")
"""Nodes drawn towards the mean of their neighbours: the rival that learns nothing by TD."""


def _foretells(reader: Reader, facts: StudyFacts) -> Claim:
    table = or_none(lambda: read_accuracy(reader, facts))
    whole = overall(table) if table is not None else None
    early = overall(table, 0.0, EARLY) if table is not None else None
    late = overall(table, EARLY) if table is not None else None
    return together(
        "The model learns to foretell the next node",
        f"{number(100 * PAPER['graph_accuracy'], 1)} % of nodes",
        [
            claim(
                "… more often than chance",
                f"{number(100 * PAPER['graph_accuracy'], 1)} % against {number(100 * CHANCE, 1)} %",
                shown(whole, 3),
                verdicts.exceeds(whole, CHANCE, "chance"),
                yes="It foretells more nodes than chance.",
                no="It foretells fewer nodes than chance.",
                maybe="Its accuracy can't be told from chance.",
            ),
            claim(
                "… more often after the first quarter of a walk: it learns in context",
                "0.253 against 0.216",
                f"{shown(late, 3)} against {shown(early, 3)}" if late and early else UNRECORDED,
                verdicts.beyond(late, early, "the first quarter"),
                yes="It foretells more later in the walk.",
                no="It foretells fewer later in the walk.",
                maybe="Whether it foretells more later can't be told.",
            ),
        ],
        yes="It learns the graph in context.",
        no="It does not learn the graph in context as the paper's model did.",
        maybe="Whether it learns the graph in context can't be told.",
    )


def _beyond(
    text: str, ours: Interval | None, other: Interval | None, named: str, published: str = NOT_PUBLISHED
) -> Claim:
    return claim(
        text,
        published,
        f"{shown(ours)} against {shown(other)}" if ours and other else UNRECORDED,
        verdicts.beyond(ours, other, named),
        yes=f"It lies above {named}.",
        no=f"It lies below {named}.",
        maybe=f"It can't be told from {named}.",
    )


def _above(text: str, ours: Interval | None, null: Null | None, permuted: str = "walks") -> Claim:
    known = ours is not None and null is not None and null.threshold == null.threshold
    return claim(
        text,
        NOT_PUBLISHED,
        f"{shown(ours)} against {number(null.threshold)}" if known and null is not None else UNRECORDED,
        verdicts.above_null(ours, null, permuted),
        yes="It is more than chance gives.",
        no="Chance gives more.",
        maybe="It can't be told from what chance gives.",
    )


def _communities(rows: pd.DataFrame | None) -> Claim:
    if rows is None:
        rows = pd.DataFrame(columns=["source", "measure", "signal", "intervention", "block", "value"])
    contrast, rival = (highest_of(rows, "contrast", "community", source) for source in (STREAM, UNTRAINED))
    chance = null_of_highest(rows, "contrast", "community", STREAM)
    return together(
        "The representations of nodes come to show the communities",
        "maps of one walk",
        [
            _above("… beyond permuted nodes", contrast, chance, "nodes"),
            _beyond("… beyond an untrained model", contrast, rival, "an untrained model"),
        ],
        yes="Communities show.",
        no="Permuted nodes or an untrained model show as much.",
        maybe="Part of the evidence is missing or not clear.",
    )


def _similarities(rows: pd.DataFrame | None) -> Claim:
    sr, links = (
        highest_of(rows, "similarity", signal, STREAM) if rows is not None else None for signal in ("sr", LINKS[0])
    )
    return _beyond(
        "Similarities of nodes follow the successor representation more closely than the transition matrix",
        sr,
        links,
        LINKS[1],
    )


def _decoding(reader: Reader, facts: StudyFacts) -> Claim:
    name = fig5c_decoding.MEASURE, fig5c_decoding.SIGNAL
    rows = or_none(lambda: read_measures(reader, facts, name[:1], name[1:]))
    ours = highest_of(rows, *name, STREAM) if rows is not None else None
    other = highest_of(rows, *name, UNTRAINED) if rows is not None else None
    chance = null_of_highest(rows, *name, STREAM) if rows is not None else None
    return together(
        "Bottleneck nodes can be told from others in walks that the decoder has not seen",
        f"{number(PAPER['graph_decoding'])}, chance 0.50",
        [
            _above("… in the best block, beyond permuted nodes", ours, chance, "nodes"),
            _beyond("… beyond an untrained model", ours, other, "an untrained model"),
        ],
        yes="Bottlenecks are represented.",
        no="Bottlenecks are not represented beyond chance, or an untrained model shows as much.",
        maybe="Whether bottlenecks are represented can't be told.",
    )


def _follows(rows: pd.DataFrame | None, signal: str, what: str, rivals: tuple[tuple[str, str], ...]) -> Claim:
    def highest(measure: str, name: str, source: str = SAE) -> Interval | None:
        return highest_of(rows, measure, name, source) if rows is not None else None

    def chance(measure: str) -> Null | None:
        return null_of_highest(rows, measure, signal) if rows is not None else None

    ours, partial = highest("max_r", signal), highest("max_r_partial", signal)
    key = f"graph_max_r_{signal}"
    parts = [
        _above("… beyond the largest of as many chance latents", ours, chance("max_r")),
        _above("… given the step and its logarithm (partial r)", partial, chance("max_r_partial")),
    ]
    given = highest("max_r_given_states", signal)
    parts.append(_above("… given the node and the one before, too", given, chance("max_r_given_states")))
    parts += [
        _beyond(
            f"… more closely than {named}",
            ours,
            highest("max_r", rival),
            named,
            f"{number(PAPER[key])} against {number(PAPER[f'graph_max_r_{rival}'])}"
            if f"graph_max_r_{rival}" in PAPER
            else NOT_PUBLISHED,
        )
        for rival, named in rivals
    ]
    parts += [
        _beyond(f"… and beyond {named}", ours, highest("max_r", signal, source), named) for source, named in SOURCES
    ]
    return together(
        f"Latents follow {what}",
        f"r = {number(PAPER[key])}",
        parts,
        yes=f"Latents follow {what} beyond chance, confounds and controls.",
        no=f"Chance, a rival or a control does as well for {what} here, or better.",
        maybe="Part of the evidence is missing or not clear.",
    )


def _aligned(rows: pd.DataFrame | None, signal: str, what: str, rivals: tuple[tuple[str, str], ...]) -> Claim:
    def highest(name: str, source: str = STREAM) -> Interval | None:
        return highest_of(rows, "cka", name, source) if rows is not None else None

    ours, key = highest(signal), f"graph_cka_{signal}"
    chance = null_of_highest(rows, "cka", signal, STREAM) if rows is not None else None
    parts = [_above("… beyond permuted walks", ours, chance)]
    parts += [
        _beyond(
            f"… more than with {named}",
            ours,
            highest(rival),
            named,
            f"{number(PAPER[key])} against {number(PAPER[f'graph_cka_{rival}'])}"
            if f"graph_cka_{rival}" in PAPER
            else NOT_PUBLISHED,
        )
        for rival, named in rivals
    ]
    parts.append(_beyond("… more than an untrained model", ours, highest(signal, UNTRAINED), "an untrained model"))
    return together(
        f"Without autoencoders too: whole blocks align with {what} (CKA)",
        f"CKA = {number(PAPER[key])}",
        parts,
        yes=f"Blocks align with {what} beyond chance, rivals and an untrained model.",
        no=f"Chance, a rival or an untrained model aligns as well with {what}, or better.",
        maybe="Part of the evidence is missing or not clear.",
    )


def _lesions(reader: Reader, facts: StudyFacts) -> list[Claim]:
    lesions = or_none(lambda: read_lesions(reader, facts)) or []
    lesion = or_none(lambda: sr_lesion(lesions))
    effects = read_effects(reader)
    found = or_none(lambda: read_predictions(reader, facts))
    cost = Cost(
        "Zeroing the SR-TD latent spoils the predictions, more than zeroing anything else",
        "the SR-TD latents",
        "",
        PAPER["graph_accuracy_lesion"] - PAPER["graph_accuracy"],
        None,
        lambda one: effects[one.name, METRIC].difference if (one.name, METRIC) in effects else None,
        lambda one, other: or_none(lambda: paired_difference(reader, facts, one.name, other.name)),
        lambda one: late_change(found, facts.variant, one.name) if found is not None else None,
        found.late_from if found is not None else None,
    )
    return [
        cost_claim(cost, lesion, lesions),
        *(
            later_claim(reader, lesion, lesions, GROUPS[group], what, PAPER[f"graph_lesion_r_{group}"])
            for group, what in (("sr", "the successor representation"), ("sr_error", "the SR-TD error"))
        ),
    ]
