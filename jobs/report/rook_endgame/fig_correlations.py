"""The latents that follow values and errors most closely, as in the language models' studies."""

from __future__ import annotations

from typing import Any

import numpy as np

from jobs.report.claims import or_none
from jobs.report.drawing import Drawing, Table
from jobs.report.reader import Reader, StudyFacts
from jobs.report.rook_endgame.estimates import draw_estimates
from jobs.report.rook_endgame.latents import Sheet, main_sae, read_sheet, records, said
from jobs.report.strongest import Feature, best, selected, threshold_of, thresholds
from tdlens.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, canvas

NAME = "correlations"
TITLE = "Latents that follow values and errors"
OVERLAY = "none: the author correlated no latents with values or errors"

SIGNALS = {
    "q_max": "highest Q-value",
    "q_gap": "lead of the best move",
    "advantage": "advantage of the move",
    "td_error": "TD error of the move before",
    "td_error_ahead": "TD error of the move to come",
    "optimal_value": "best play's value",
}
SOURCES = (
    ("sae", BLUE, "o", "latents"),
    ("raw", VERMILION, "s", "the layer's units"),
    ("pca", PURPLE, "D", "principal components"),
    ("untrained", ORANGE, "^", "units of an untrained network"),
    ("shuffled", GREY, "v", "latents, rollouts shuffled"),
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """For each signal the best feature of every source, held out."""
    names, sae = tuple(SIGNALS), main_sae(facts)
    rows, judged = selected(reader, facts, names), thresholds(reader, facts, names)
    kept = [name for name in names if name in set(rows["signal"])]
    figure, axes = canvas(height=0.66 * len(kept) + 1.5)
    ax = axes[0, 0]
    places = list(range(len(kept)))[::-1]
    for place, (source, colour, marker, label) in enumerate(SOURCES):
        found = [best(rows, source, name, sae if source == "sae" else None) for name in kept]
        points = [(height + 0.28 - 0.14 * place, one.heldout) for height, one in zip(places, found, strict=True) if one]
        ours = source == "sae"
        style: Any = {"fmt": marker, "markersize": 5 if ours else 4, "markerfacecolor": colour if ours else "white"}
        if points:
            heights, estimates = [height for height, _ in points], [r for _, r in points]
            draw_estimates(ax, estimates, heights, colour, label=label, **style)
    latents = [(name, feature) for name in kept if (feature := best(rows, "sae", name, sae)) is not None]
    limits = {name: threshold_of(judged, feature, sae) for name, feature in latents}
    marks = [(height, limits[name]) for height, name in zip(places, kept, strict=True) if limits.get(name) is not None]
    if marks:
        at, middle = np.array([limit for _, limit in marks]), np.array([height for height, _ in marks])
        ax.vlines(at, middle - 0.38, middle + 0.38, color=GREEN, linestyle=":", label="family-wise threshold")
    ax.axvline(0, color=GREY, linewidth=0.9)
    ax.set(title="Best feature of each source, held out", yticks=places, yticklabels=[SIGNALS[name] for name in kept])
    ax.set_xlabel("r with the signal, on rollouts that didn't choose the feature")
    ax.grid(axis="y", visible=False)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    told = "; ".join(f"{SIGNALS[name]} {one.heldout.text()}" for name, one in latents)
    decisions = f"{int(judged['n_rollouts'].max())} rollouts, {int(judged['n'].max()):,} decisions"
    return Drawing(
        figure,
        sees=f"The latent of {sae} that follows each signal best, held out: {told or 'none'}.",
        beside=(
            "An agent's layer has to hold its values, so single units follow them too: the comparison with units and "
            "principal components says what the autoencoder adds. Features without a sign are taken in the direction "
            "that the first half of the rollouts chose."
        ),
        n=f"{decisions}; one half of the rollouts chooses, the other scores",
        table=_table(latents, or_none(lambda: read_sheet(reader, facts))),
    )


def _table(latents: list[tuple[str, Feature]], sheet: Sheet | None) -> Table:
    tells = {row["latent"]: said(row["predicate"]) for row in records(sheet.told)} if sheet is not None else {}
    lines = [
        (SIGNALS[name], str(f.latent), tells.get(f.latent, "–"), f.r.text(), f.heldout.text(), f"{f.p_familywise:.2g}")
        for name, f in latents
    ]
    header = ("signal", "latent", "what it tells of the board", "r", "held out", "family-wise p")
    return Table(header, tuple(lines), words=(0, 2))
