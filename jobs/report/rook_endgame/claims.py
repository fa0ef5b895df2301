"""Claims about autoencoders of a deep Q network (DuPlessie 2024), each put to a rule.

Of the paper only abstract and introduction were at hand: the claims are its own, the numbers beside ours are recomputed
from the author's released checkpoints and logs.
"""

from __future__ import annotations

from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, or_none, shown, together
from jobs.report.drawing import Claim
from jobs.report.reader import Reader, StudyFacts
from jobs.report.rook_endgame import authors
from jobs.report.rook_endgame.claims_latents import latent_claims
from jobs.report.rook_endgame.fig_frequencies import dead_shares
from jobs.report.rook_endgame.fig_over_k import plain, read_spliced
from jobs.report.rook_endgame.fig_population import Fit, fit, read_population
from jobs.report.rook_endgame.play import (
    CONTROL,
    KILL,
    SPLICE,
    Effects,
    paired_returns,
    read_effects,
    read_metrics,
)
from jobs.report.verdicts import Ruling, Verdict
from tdlens.figures import number

ACCEPTED = 45.0
"""The least return of an agent that plays as the author's do."""
LOST = 10.0
"""Points a game that the best reconstruction may cost."""
MOST_UNEXPLAINED = 0.02
"""FVU in play of k = 20."""
DEAD = (0.65, 0.95)
"""Share of latents that fire on no board, of k = 20."""
MARGIN = 0.1
"""Share of the variance left unexplained by which two autoencoders of one seed each must differ."""
PLAIN, BEST, RESAMPLED = "k20", "k50", "k20_resampled"

_AGENT = authors.agents()[0]
_PACMAN = authors.pacman_fit()


def claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """Every claim with its verdict."""
    effects = or_none(lambda: read_effects(reader))
    return [
        _agent(reader, facts),
        _decomposes(reader, facts, effects),
        *latent_claims(reader, facts),
        _population(reader),
        *_kill_test(reader, facts, effects),
        _resampling(effects),
    ]


def _agent(reader: Reader, facts: StudyFacts) -> Claim:
    metrics = or_none(lambda: read_metrics(reader, facts))
    earned = metrics["return"] if metrics else None
    return claim(
        "The agent plays at least as well as the author's",
        f"{number(_AGENT['return'], 1)} points a game",
        shown(earned, 1),
        verdicts.exceeds(earned, ACCEPTED, "the least return of such an agent"),
        yes="It plays at least as well as the agent whose layer the author took apart.",
        no="It plays worse: what its layer holds may be something else.",
        maybe="Whether it plays as well can't be told from these games.",
    )


def _decomposes(reader: Reader, facts: StudyFacts, effects: Effects | None) -> Claim:
    unexplained = effects.value(f"{PLAIN}_{SPLICE}", "fvu") if effects is not None else None
    kept = effects.change(f"{BEST}_{SPLICE}", "return") if effects is not None else None
    mean = or_none(lambda: paired_returns(reader, facts, f"{BEST}_{SPLICE}", "mean_layer"))
    dead = (or_none(lambda: dead_shares(reader, facts)) or {}).get(PLAIN)
    theirs = {k: authors.autoencoder(k) for k in (20, 50)}
    parts = [
        claim(
            f"… leaving less than {100 * MOST_UNEXPLAINED:g} % of the variance in fresh play unexplained at k = 20",
            f"{number(100 * theirs[20]['fvu'], 2)} %",
            _percent(unexplained, 2),
            verdicts.between(unexplained, 0, MOST_UNEXPLAINED),
            yes="The reconstruction is close.",
            no="The reconstruction is not close.",
            maybe="",
        ),
        _agreement(reader, facts),
        claim(
            f"… well enough to play on: at k = 50 within {LOST:g} points of the agent",
            f"{number(theirs[50]['spliced_return'] - _AGENT['return'], 1)} points",
            shown(kept, 1),
            verdicts.exceeds(kept, -LOST, f"a loss of {LOST:g} points"),
            yes="With the reconstruction in the layer's place the agent plays on almost as well.",
            no="With the reconstruction in the layer's place the agent plays worse.",
            maybe="How much the reconstruction costs can't be told from these games.",
        ),
        claim(
            "… and better than with the layer at its mean",
            f"by {number(theirs[50]['spliced_return'] - _AGENT['mean_ablated_return'], 0)} points",
            shown(mean, 1),
            verdicts.effect(mean, None, expected=1),
            yes="The reconstruction carries what the layer's mean does not.",
            no="The layer's mean does as well.",
            maybe="Whether the reconstruction does better than the mean can't be told.",
        ),
        claim(
            f"… with {100 * DEAD[0]:g} to {100 * DEAD[1]:g} % of the latents dead at k = 20",
            f"{number(100 * theirs[20]['dead'] / authors.LATENTS, 0)} %",
            _percent(dead, 0),
            verdicts.between(dead, *DEAD),
            yes="Most of the dictionary is never used, as in the author's autoencoders.",
            no="The share of dead latents is another than in the author's autoencoders.",
            maybe="",
        ),
    ]
    return together(
        "Autoencoders decompose the layer's activations into few latents each",
        NOT_PUBLISHED,
        parts,
        yes="They do, and the agent can play on what they keep.",
        no="At least one condition does not hold.",
        maybe="At least one condition is missing or not clear.",
    )


def _agreement(reader: Reader, facts: StudyFacts) -> Claim:
    several = [one.metrics["agreement"] for one in plain(or_none(lambda: read_spliced(reader, facts)) or [])]
    shares = [row["agreement"] for row in authors.over_k()]
    return claim(
        "… the more closely, the more latents may be active: the action stays the same ever more often",
        f"{number(shares[0])} to {number(shares[-1])}",
        f"{number(several[0].value)} to {number(several[-1].value)}" if len(several) > 1 else UNRECORDED,
        verdicts.rises(several, "k"),
        yes="The more latents, the more often the action stays the same.",
        no="More latents do not always keep more actions; each k is one autoencoder, of one seed.",
        maybe="Some steps of k can't be told apart.",
    )


def _population(reader: Reader) -> Claim:
    agents = or_none(lambda: read_population(reader))
    found = fit(agents["live"].to_numpy(float), agents["score"].to_numpy(float)) if agents is not None else None
    ours = UNRECORDED
    if found is not None and agents is not None:
        ours = (
            f"curvature {shown(found.curvature, 1)}, turning at {number(found.vertex, 0)} of "
            f"{int(agents['live'].min())} to {int(agents['live'].max())}; R² = "
            f"{number(found.r_squared)}, F(2, {len(agents) - 3}) = {number(found.f)}, p = {found.p:.2g}"
        )
    return claim(
        "Agents whose autoencoders have a middling number of live latents play best (Ms. Pac-Man, 2026)",
        f"R² = {number(_PACMAN['r_squared'])}, F(2, {int(_PACMAN['agents']) - 3}) = {number(_PACMAN['f'])}, p = "
        f"{_PACMAN['p']:.2g}",
        ours,
        _bends_down(found),
        yes="Over this population the return is highest at a middling number of live latents.",
        no="Over this population the curve bends up, or turns beyond the agents there are.",
        maybe="Over this population no curve can be told from a line.",
    )


def _bends_down(found: Fit | None) -> Ruling:
    rule = (
        "Replicates if the 95 % interval of the curvature lies below 0 and the curve turns within the numbers of live "
        "latents that the agents have; does not if it lies above 0, or below it and the curve turns elsewhere; else "
        "can't tell."
    )
    if found is None or not found.curvature.known or found.curvature.low <= 0 <= found.curvature.high:
        return Ruling(Verdict.UNCLEAR, rule)
    bends = found.curvature.high < 0 and found.turns_within
    return Ruling(Verdict.REPLICATES if bends else Verdict.DIFFERS, rule)


def _kill_test(reader: Reader, facts: StudyFacts, effects: Effects | None) -> list[Claim]:
    infrequent, others = f"{PLAIN}_{KILL}", f"{PLAIN}_{CONTROL}"
    cost = effects.change(infrequent, "return") if effects is not None else None
    spared = or_none(lambda: paired_returns(reader, facts, infrequent, others))
    return [
        together(
            "Latents that seldom fire matter for play (the kill test, k = 20)",
            NOT_PUBLISHED,
            [
                claim(
                    "… removing all of them costs return",
                    NOT_PUBLISHED,
                    shown(cost, 1),
                    verdicts.effect(cost, None, expected=-1),
                    yes="Without them the agent earns less.",
                    no="Without them the agent earns more.",
                    maybe="Without them the agent earns about as much.",
                ),
                claim(
                    "… more than removing others, drawn at random, that together are active as often",
                    NOT_PUBLISHED,
                    shown(spared, 1),
                    verdicts.effect(spared, None, expected=-1),
                    yes="Removing others that are active as often costs less.",
                    no="Removing others that are active as often costs more.",
                    maybe="Whether the others matter more can't be told.",
                ),
            ],
            yes="The infrequent latents matter, and more than others that are active as often.",
            no="The infrequent latents don't matter, or less than others that are active as often.",
            maybe="What the infrequent latents matter can't be told.",
        )
    ]


def _resampling(effects: Effects | None) -> Claim:
    pairs, told = [], []
    for where, metric in (("in play", "fvu"), ("all boards", "fvu_all")):
        known = (
            [effects.value(f"{name}_{SPLICE}", metric) for name in (RESAMPLED, PLAIN)] if effects is not None else []
        )
        pairs += [(known[0], known[1])] if len(known) == 2 and None not in known else []
        told.append(f"{where}: {' against '.join(_percent(value, 2) for value in known)}")
    theirs = [authors.autoencoder(20, variant)["fvu"] for variant in ("resampled", "")]
    return claim(
        "Starting dead latents again does not help reconstruction (k = 20)",
        f"{_percent(theirs[0], 2)} unexplained against {_percent(theirs[1], 2)}",
        "; ".join(told) if len(pairs) == len(told) else UNRECORDED,
        _no_lower([(float(a), float(b)) for a, b in pairs if a is not None and b is not None], len(told)),
        yes="With resampling, more is left unexplained.",
        no="With resampling, less is left unexplained.",
        maybe="With and without resampling about as much is left unexplained, or the answers differ.",
    )


def _no_lower(pairs: list[tuple[float, float]], needed: int) -> Ruling:
    """Whether the first of each pair is clearly the larger; exact numbers of one seed each."""
    rule = (
        f"Replicates if resampling leaves at least {100 * MARGIN:g} % more unexplained both in play and over all "
        "boards; does not if it leaves as much less in both; else can't tell. Each is of one seed."
    )
    if len(pairs) < needed:
        return Ruling(Verdict.UNCLEAR, rule)
    if all(first >= second * (1 + MARGIN) for first, second in pairs):
        return Ruling(Verdict.REPLICATES, rule)
    lower = all(first <= second * (1 - MARGIN) for first, second in pairs)
    return Ruling(Verdict.DIFFERS if lower else Verdict.UNCLEAR, rule)


def _percent(share: float | None, digits: int) -> str:
    return UNRECORDED if share is None else f"{number(100 * share, digits)} %"
