"""What latents tell about boards between which the Q-values hardly differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.report.drawing import Drawing
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.rook_endgame.estimates import draw_estimates
from jobs.report.rook_endgame.latents import Sheet, read_sheet, records, short
from jobs.report.verdicts import Interval, widened
from tdlens.figures import BLUE, GREY, VERMILION, canvas, number

NAME = "matched"
TITLE = "What the outputs alone don't show"
OVERLAY = "none: the author tested no such pairs"

NOISE_OF_BOTH = 2**0.5
FEWEST_PAIRS = 20
"""A latent with fewer pairs of boards can't be told apart from anything, and is not tested."""
SHOWN = 14
"""Latents drawn, the clearest."""


@dataclass(frozen=True)
class Hidden:
    """The latents compared at nearly equal Q-values; intervals are widened for their number."""

    rows: list[dict[str, Any]]
    shares: list[Interval]
    """Of the pairs in which the latent is larger where its predicate holds."""
    added: list[Interval]
    """That share minus the share of a decoder of all Q-values in the same pairs."""
    ahead: list[Interval]
    """Held-out F1 of the latent minus that of a decoder of all Q-values."""


def hidden(sheet: Sheet, facts: StudyFacts) -> Hidden:
    """The latents of a sheet that were compared, the clearest first.

    Raises:
        NotRecorded: none was.
    """
    rows = sheet.matched[sheet.matched["matched_pairs"] >= FEWEST_PAIRS]
    if rows.empty:
        raise NotRecorded("latents compared at equal Q-values (stage probe)")
    several = records(rows)
    shares, added, f1 = (
        [_widened(Interval(*(float(row[name]) for name in names)), len(several), facts.alpha, least) for row in several]
        for names, least in (
            (("matched_share", "matched_low", "matched_high"), 0.0),
            (("added_share", "added_low", "added_high"), -1.0),
            (("f1_heldout", "ci_low", "ci_high"), 0.0),
        )
    )
    decoders = [float(row["decoder_f1"]) for row in several]
    ahead = [_lead(latent, decoder) for latent, decoder in zip(f1, decoders, strict=True)]
    return Hidden(several, shares, added, ahead)


def _lead(latent: Interval, decoder: float) -> Interval:
    """F1 of a latent less that of a decoder, which is as uncertain: the interval is so much wider."""
    low, high = ((bound - latent.value) * NOISE_OF_BOTH for bound in (latent.low, latent.high))
    return Interval(latent.value - decoder, latent.value - decoder + low, latent.value - decoder + high)


def _widened(share: Interval, tests: int, alpha: float, least: float) -> Interval:
    """Widened for all tests, within what a share, or a difference of shares, can be."""
    wide = widened(share, tests, alpha)
    return Interval(wide.value, max(least, wide.low), min(1.0, wide.high))


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Left: pairs at equal Q-values. Right: the latent's F1 beside that of a decoder of the Q-values."""
    sheet = read_sheet(reader, facts)
    found = hidden(sheet, facts)
    shown, shares = found.rows[:SHOWN], found.shares[:SHOWN]
    places = list(range(len(shown)))[::-1]
    figure, axes = canvas(1, 2, height=0.34 * len(shown) + 1.7, sharey=True)
    left, right = axes[0]
    draw_estimates(left, shares, places, BLUE)
    left.axvline(0.5, color=GREY, linewidth=1)
    left.set(title="Right at nearly equal Q-values", xlabel="share of pairs of boards")
    left.set_xlim(min(0.4, *(share.low for share in shares)), 1.02)
    latents, decoders = ([row[name] for row in shown] for name in ("f1_heldout", "decoder_f1"))
    right.hlines(places, latents, decoders, color="#C9CED6", linewidth=1.5, zorder=1)
    right.plot(latents, places, "o", color=BLUE, label="the latent")
    right.plot(decoders, places, "D", color=VERMILION, markerfacecolor="white", label="a decoder of all 24 Q-values")
    right.set(title="F1 of its property", xlabel="F1, held out", xlim=(-0.02, 1.02))
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=2)
    names = [f"{short(row['predicate'])}  · {row['latent']}" for row in shown]
    left.set(yticks=places, yticklabels=names, ylim=(-0.6, len(shown) - 0.4))
    left.tick_params(axis="y", labelsize=7.4)
    for ax in (left, right):
        ax.grid(axis="y", visible=False)
    above = sum(one.low > 0.5 for one in found.shares)
    beyond = sum(one.low > 0 for one in found.added)
    better = sum(one.low > 0 for one in found.ahead)
    pairs = [int(row["matched_pairs"]) for row in found.rows]
    return Drawing(
        figure,
        sees=(
            f"Of {len(found.rows)} latents of {sheet.sae} that were compared, {above} are larger where their property "
            "holds, in pairs of boards that have nearly the same Q-values for all 24 actions (highest share "
            f"{number(max(share.value for share in found.shares))}; by chance 0.5), {beyond} of them more often than a "
            "decoder of all Q-values in the same pairs (the better of boosted trees and a perceptron, each trained on "
            f"half of the boards). Over the other half {better} tell their property better than the decoder."
        ),
        beside=(
            f"Intervals are 95 % together over all {len(found.rows)} latents (Bonferroni). Pairs of nearly equal "
            "Q-values still differ a little, and where a property changes with the Q-values that little gives it away: "
            "a share near 1 alone proves nothing. So the verdict is on what a latent adds to a decoder of the exact "
            "Q-values in the same pairs; where that does as well, the latent makes plain what the outputs hold in a "
            "hidden form."
        ),
        n=f"{min(pairs):,} to {max(pairs):,} pairs a latent",
    )
