"""Latents that stand for something and do nothing."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing, Table
from jobs.report.reader import Reader, StudyFacts
from jobs.report.rook_endgame.latents import CLEAR, COLOURS, NO_EFFECT, read_sheet, records, said, short, theme
from tdlens.figures import GREY, INK, canvas, number

NAME = "useless"
TITLE = "Known, but not used"
OVERLAY = "none: the author names no such latents of the rook endgame"

FLOOR = 3e-4
"""Where latents without any effect are drawn on the logarithmic axis."""
LISTED = 10
NAMED = 4


def idle_latents(rows: pd.DataFrame) -> pd.DataFrame:
    """The clear latents whose removal changes next to no move, the clearest first."""
    idle = rows[(rows["clear"] >= CLEAR) & (rows["flip_rate"] <= NO_EFFECT)]
    return idle.sort_values("clear", ascending=False, kind="stable")


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """How clearly each latent tells its property, against how many moves its removal changes."""
    sheet = read_sheet(reader, facts)
    rows = sheet.told.dropna(subset=["flip_rate"])
    several, idle = records(rows), records(idle_latents(rows))
    figure, axes = canvas(height=5.2)
    ax = axes[0, 0]
    ax.axhspan(FLOOR / 4, NO_EFFECT, color="#F3F4F6", zorder=0)
    ax.axvline(CLEAR, color=GREY, linewidth=0.9)
    for name, colour in COLOURS.items():
        here = [row for row in several if theme(row["family"]) == name]
        if here:
            ax.scatter(
                [row["clear"] for row in here],
                [max(row["flip_rate"], FLOOR) for row in here],
                s=[12 + 130 * row["frequency_all"] ** 0.5 for row in here],
                color=colour,
                alpha=0.65,
                linewidth=0.5,
                edgecolor="white",
                label=name,
                zorder=3,
            )
    for place, row in enumerate(sorted(idle[:NAMED], key=lambda row: -row["flip_rate"])):
        _name(ax, row, place)
    corner: Any = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "bottom"}
    ax.annotate(
        "clear, but without effect on play", (CLEAR, 0), (5, 4), color=GREY, fontweight="bold", fontsize=8.5, **corner
    )
    ax.set(title="What a latent tells, and what it does", xlabel="held-out F1 of its best predicate, above chance")
    ax.set(ylabel="share of its boards at which removal\nchanges the move (log scale)", yscale="log")
    ax.set(ylim=(FLOOR / 2.6, 1.3), xlim=(None, 1.02))
    ax.set_yticks([FLOOR, 0.001, 0.01, 0.1, 1.0], ["none", "0.1 %", "1 %", "10 %", "100 %"])
    ax.minorticks_off()
    beside: Any = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "alignment": "left"}
    legend = ax.legend(title="what it tells", **beside)
    for handle in legend.legend_handles:
        handle.set_sizes([45])
    return Drawing(
        figure,
        sees=(
            f"{len(idle)} of the {len(sheet.clear)} latents of {sheet.sae} that tell a property clearly could be "
            f"removed without changing the move on more than {100 * NO_EFFECT:g} % of the boards at which they fire "
            "(grey, right of the line). Points are the larger the more often the latent fires."
        ),
        beside=(
            "A latent without effect alone may matter together with others that tell the same, and a small effect on Q "
            "may be of use in training without changing a greedy move now. What fires weakly changes little "
            "whatever it tells."
        ),
        n=f"{len(several)} latents that tell a property, over the 7,040 boards that occur in games",
        table=_table(idle[:LISTED]) if idle else None,
    )


def _name(ax: Axes, row: dict[str, Any], place: int) -> None:
    """Its property, at the right, with a thin line to its point."""
    at, heights = (row["clear"], max(row["flip_rate"], FLOOR)), (0.36, 0.30, 0.24, 0.18)
    line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4, "relpos": (0, 0.5)}
    text = f"{short(row['predicate'], 38)} · {row['latent']}"
    where: Any = {
        "xytext": (1.03, heights[place]),
        "textcoords": "axes fraction",
        "va": "center",
        "annotation_clip": False,
    }
    ax.annotate(text, at, fontsize=7, color=INK, arrowprops=line, zorder=5, **where)


def _table(rows: list[dict[str, Any]]) -> Table:
    header = (
        *("latent", "what it tells", "F1, held out", "chance", "fires on"),
        *("removal changes moves", "mean change of Q", "change of the return"),
    )
    lines = [
        (
            str(row["latent"]),
            said(row["predicate"]),
            number(row["f1_heldout"]),
            number(row["null_mean"]),
            f"{100 * row['frequency_all']:.2g} %",
            f"{100 * row['flip_rate']:.2g} %",
            number(row["q_effect"], 4),
            number(row.get("return_effect"), 1),
        )
        for row in rows
    ]
    return Table(header, tuple(lines), words=(1,))
