"""How many latents stand for a property of the board, beside every control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing, Table
from jobs.report.reader import Reader, StudyFacts
from jobs.report.rook_endgame import authors
from jobs.report.rook_endgame.latents import (
    CLEAR,
    main_sae,
    of_source,
    read_best,
    read_sheet,
    records,
    said,
    told,
)
from tdlens.figures import BLUE, GREY, INK, ORANGE, SKY, VERMILION, canvas, number

NAME = "predicates"
TITLE = "Latents that stand for something"
OVERLAY = (
    "with 204 predicates of another library, no feature of the author's reached an F1 of 0.9; best: a rook's square "
    "0.72, a rook's file 0.71 to 0.80"
)

CONTROLS = (
    ("raw", "the layer's own units", VERMILION),
    ("untrained", "units of an untrained network", ORANGE),
    ("shuffled", "latents, boards shuffled", GREY),
)
BEST = 15
"""Latents in the table."""


@dataclass(frozen=True)
class Source:
    """The features of one source."""

    label: str
    colour: str
    rows: pd.DataFrame
    features: int
    """All of them, whether they could be tested or not."""


def sources(reader: Reader, facts: StudyFacts) -> list[Source]:
    """Every autoencoder and every control, those that were probed.

    Raises:
        NotRecorded: nothing was probed.
    """
    best, live, main = read_best(reader), _live(reader, facts), main_sae(facts)
    found = [
        Source(name, BLUE if name == main else SKY, rows, live.get(name, len(rows)))
        for name in facts.saes
        if len(rows := of_source(best, "sae", name))
    ]
    for source, label, colour in CONTROLS:
        rows = of_source(best, source)
        if len(rows):
            units = 2 * int(facts.network["d_model"])  # each in both directions
            features = live.get(str(rows["sae"].iloc[0]), len(rows)) if source == "shuffled" else units
            found.append(Source(label, colour, rows, features))
    return found


def _live(reader: Reader, facts: StudyFacts) -> dict[str, int]:
    """How many latents of each autoencoder fire on some board that occurs."""
    rows = reader.rows(
        """
        SELECT sae, count(value) AS live FROM v_latent_measure
        WHERE study = :study AND model = :model AND measure = 'mean_active'
        AND block = (SELECT min(block) FROM v_latent_measure WHERE study = :study) GROUP BY sae ORDER BY sae
        """,
        model=facts.model,
    )
    return {row["sae"]: int(row["live"]) for row in rows}


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A strip of points for each source, and how many of it tell something."""
    found = sources(reader, facts)
    figure, axes = canvas(height=0.42 * len(found) + 1.6)
    ax = axes[0, 0]
    places = list(range(len(found)))[::-1]
    rng = np.random.default_rng(0)
    for place, one in zip(places, found, strict=True):
        _strip(ax, place, one, facts, rng)
    ax.axvline(CLEAR, color=GREY, linewidth=0.9)
    top: Any = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "ha": "center", "fontsize": 8}
    ax.annotate("clear from here", (CLEAR, 1), (0, 3), color=GREY, **top)
    ax.set(title="Each feature's best predicate", yticks=places, yticklabels=[one.label for one in found])
    ax.set(xlabel="held-out F1 above chance (0: fires as often at random; 1: perfect)", ylim=(-0.6, len(found) - 0.4))
    ax.set_xlim(min(-0.05, ax.get_xlim()[0]), 1.02)
    ax.grid(axis="y", visible=False)
    sheet, theirs = read_sheet(reader, facts), authors.probe()
    units = next((one for one in found if one.label == CONTROLS[0][1]), None)
    return Drawing(
        figure,
        sees=(
            f"Of the {sheet.live} latents of {sheet.sae} that fire on some board, {len(sheet.told)} tell a property of "
            "it beyond the best of all tests by chance, on boards that did not choose it, and "
            f"{len(sheet.clear)} do so clearly (F1 above chance at least {CLEAR:g}). Highest held-out F1: "
            f"{number(sheet.rows['f1_heldout'].max())}; of the author's features, with another library of "
            f"{theirs['predicates']} predicates: {number(theirs['rook_file_f1_max'])}."
            + (f" Of single units of the layer: {number(units.rows['f1_heldout'].max())}." if units else "")
        ),
        beside=(
            "Thick line: median. Dotted: what the largest of all F1 of the family exceeds by chance in one case of "
            "twenty (median over features). With thousands of boards even weak relations lie beyond chance; what "
            "counts is how clear they are, and whether units that no autoencoder touched do as well. F1 is corrected "
            "for chance because a feature that always fires has a high F1 with whatever is mostly true."
        ),
        n="7,040 boards that occur in games: one random half chooses threshold and predicate, the other half scores",
        table=_table(records(sheet.told.head(BEST))),
    )


def _strip(ax: Axes, place: int, one: Source, facts: StudyFacts, rng: np.random.Generator) -> None:
    rows = one.rows.dropna(subset=["clear"])
    yes = told(rows, facts).to_numpy()
    heights = place + rng.uniform(-0.27, 0.27, len(rows))
    ax.scatter(rows["clear"], heights, s=np.where(yes, 11, 5), color=one.colour, alpha=0.5, linewidth=0)
    limits = (rows["null_threshold"] - rows["null_mean"]) / (1 - rows["null_mean"])
    for at, style in (
        (float(rows["clear"].median()), {"color": INK, "linewidth": 2}),
        (float(limits.median()), {"color": GREY, "linewidth": 1.2, "linestyle": ":"}),
    ):
        ax.vlines(at, place - 0.36, place + 0.36, zorder=4, **style)  # type: ignore[arg-type]
    clear = int((yes & (rows["clear"] >= CLEAR).to_numpy()).sum())
    text = f"{yes.sum()} of {one.features} tell something, {clear} clearly"
    ax.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8)


def _table(rows: list[dict[str, Any]]) -> Table:
    header = (
        *("latent", "what it tells", "family", "F1, held out", "95 %"),
        *("chance", "fires on", "removal changes moves"),
    )
    lines = [
        (
            str(row["latent"]),
            said(row["predicate"]),
            row["family"].replace("_", " "),
            number(row["f1_heldout"]),
            f"{number(row['ci_low'])}–{number(row['ci_high'])}",
            number(row["null_mean"]),
            f"{100 * row['frequency_all']:.2g} %",
            f"{100 * row['flip_rate']:.2g} %",
        )
        for row in rows
    ]
    return Table(header, tuple(lines), words=(1, 2))
