"""A map of the dictionary: where the live latents' decoder directions lie, and what they stand for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.rook_endgame.latents import COLOURS, NONE, read_sheet, records, short, theme
from tdlens.figures import INK, canvas

NAME = "directions"
TITLE = "A map of the dictionary"
OVERLAY = "the author drew such maps of encoder rows by UMAP; their coordinates aren't among the released files"

NAMED = 8
"""At most so many latents have their names on the map."""


@dataclass(frozen=True)
class Point:
    """A latent on the map."""

    x: float
    y: float
    about: str
    """Theme of what it tells."""
    clear: float
    """Its F1 above chance; 0 if it tells nothing."""
    name: str


def read_places(reader: Reader, sae: str) -> list[dict[str, Any]]:
    """Where each live latent lies: item (the latent), x, y.

    Raises:
        NotRecorded: there is no map.
    """
    rows = reader.rows(
        """
        SELECT item, x, y FROM v_map_point
        WHERE study = :study AND method = 'pca' AND source = :sae ORDER BY item
        """,
        sae=sae,
    )
    if not rows:
        raise NotRecorded("a map of decoder directions (stage probe)")
    return rows


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Live latents by direction, coloured by what they are about, the larger the clearer."""
    sheet = read_sheet(reader, facts)
    known = {row["latent"]: row for row in records(sheet.told)}
    points = [_point(row, known.get(row["item"])) for row in read_places(reader, sheet.sae)]
    figure, axes = canvas(height=5.6)
    ax = axes[0, 0]
    for about in (NONE, *(name for name in COLOURS if name != NONE)):
        here = [point for point in points if point.about == about]
        if here:
            ax.scatter(
                [point.x for point in here],
                [point.y for point in here],
                s=[14 + 150 * point.clear**2 for point in here],
                color=COLOURS[about],
                alpha=0.35 if about == NONE else 0.75,
                linewidth=0.5,
                edgecolor="white",
                label=f"{about} ({len(here)})",
                zorder=2 if about == NONE else 3,
            )
    for point in _apart(points):
        _name(ax, point)
    title = f"Decoder directions of {sheet.sae}, two largest principal components"
    ax.set(title=title, xlabel="first component", ylabel="second component")
    ax.set_aspect("equal", adjustable="datalim")
    beside: Any = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "alignment": "left"}
    legend = ax.legend(title="what the latent tells best", **beside)
    for handle in legend.legend_handles:
        handle.set_sizes([45])
    counts = Counter(point.about for point in points if point.about != NONE).most_common(1)
    most = f"{counts[0][0]} ({counts[0][1]} of {len(points)})" if counts else "nothing that was tried"
    return Drawing(
        figure,
        sees=(
            f"Each point is one of the {len(points)} latents of {sheet.sae} that fire on some board, at the place of "
            "its unit decoder direction; the larger, the higher its F1 above chance. The theme of most latents: "
            f"{most}. Named are the clearest whose names don't hide each other."
        ),
        beside=(
            "Two components show a small part of a space of many dimensions: neighbours on the map need not be "
            "neighbours there, and the names are those of single predicates that fit best."
        ),
        n=f"{len(points)} live latents",
    )


def _point(place: dict[str, Any], known: dict[str, Any] | None) -> Point:
    if known is None:
        return Point(place["x"], place["y"], NONE, 0.0, "")
    return Point(
        place["x"], place["y"], theme(known["family"]), max(0.0, known["clear"]), short(known["predicate"], 44)
    )


def _apart(points: list[Point]) -> list[Point]:
    """The clearest latents with a name, without those too near to a clearer one for both to be read."""
    across, high = (np.ptp([getattr(point, axis) for point in points]) for axis in ("x", "y"))
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: -point.clear):
        near = any(abs(point.x - o.x) < 0.3 * across and abs(point.y - o.y) < 0.04 * high for o in kept)
        if point.name and not near and len(kept) < NAMED:
            kept.append(point)
    return kept


def _name(ax: Axes, point: Point) -> None:
    backing = {"facecolor": "white", "alpha": 0.65, "edgecolor": "none", "pad": 0.6}
    style: Any = {"textcoords": "offset points", "fontsize": 7, "color": INK, "bbox": backing, "zorder": 5}
    ax.annotate(point.name.removeprefix("The "), (point.x, point.y), (7, 4), **style)
