"""The house style of figures: one palette, one typography, and the few shapes that all figures share.

Colours are those of Okabe & Ito, which people with any colour vision can tell apart. Ours is in colour, what
others published is grey and dashed, and a control is thinner than what it controls.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#AA4499"
ORANGE, SKY, INK, GREY = "#E69F00", "#56B4E9", "#222831", "#6B7280"

CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
"""Series without a role of their own, in this order."""

PUBLISHED = "#4B5563"
"""Whatever a paper reports."""

PUBLISHED_LINE: Any = (0, (4, 2))
"""Its dashes."""

BEHIND: Any = {"linewidth": 4.2, "linestyle": "-", "alpha": 0.5}
BEFORE: Any = {"linewidth": 1.6, "linestyle": (0, (3, 1.5))}
"""Two lines of equal rank that may coincide: the one shows around the other and between its dashes."""

DPI = 160
WIDTH = 9.6
"""Inches; at `DPI` a figure is sharp on a page about a thousand pixels wide."""

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E8EAEE",
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.07,
}


@contextmanager
def house_style() -> Iterator[None]:
    """matplotlib's settings for the block, given back at its end."""
    with mpl.rc_context(_STYLE):
        yield


def canvas(
    rows: int = 1, columns: int = 1, *, height: float, width: float = WIDTH, **options: Any
) -> tuple[Figure, Any]:
    """A figure and its axes, [rows, columns]; `options` go to `Figure.subplots`.

    The figure belongs to no window and no global list, so it is freed with its last reference.
    """
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def png(figure: Figure, path: Path) -> bytes:
    """Writes the figure as a PNG without a date in it, so that equal figures are equal files; gives its bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def data_uri(image: bytes) -> str:
    """A PNG as an address that a page can hold within itself."""
    return "data:image/png;base64," + base64.b64encode(image).decode("ascii")


def published(axes: Axes, x: ArrayLike, y: ArrayLike, label: str, **options: Any) -> None:
    """A curve that somebody else reported: grey, dashed, behind ours."""
    style = {"color": PUBLISHED, "linestyle": PUBLISHED_LINE, "linewidth": 1.3, "zorder": 1.8, **options}
    axes.plot(x, y, label=label, **style)


def band(axes: Axes, x: ArrayLike, centre: ArrayLike, half: ArrayLike, color: str) -> None:
    """A pale band around a line, without a place in the legend."""
    centre, half = np.asarray(centre), np.asarray(half)
    axes.fill_between(np.asarray(x), centre - half, centre + half, color=color, alpha=0.16, linewidth=0)


def level(axes: Axes, y: float, label: str, *, align: str = "right", **options: Any) -> None:
    """A horizontal line with its name written on it."""
    axes.axhline(y, **{"color": GREY, "linewidth": 0.9, "linestyle": ":", "zorder": 1, **options})
    axes.annotate(
        label,
        (1.0 if align == "right" else 0.0, y),
        xycoords=("axes fraction", "data"),
        xytext=(-3 if align == "right" else 3, 2.5),
        textcoords="offset points",
        ha=align,
        va="bottom",
        fontsize=8,
        color=GREY,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
    )


def whole_numbers(axes: Axes) -> None:
    """Ticks of the horizontal axis where it counts something: blocks, steps."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def intervals(
    axes: Axes,
    values: ArrayLike,
    lows: ArrayLike,
    highs: ArrayLike,
    places: ArrayLike,
    color: str,
    **options: Any,
) -> None:
    """Points with horizontal 95 % intervals, at the given heights; NaN leaves a place empty."""
    error = np.vstack([np.subtract(values, lows), np.subtract(highs, values)])
    axes.errorbar(
        values,
        places,
        xerr=np.clip(error, 0, None),
        **{"fmt": "o", "color": color, "elinewidth": 1.6, "capsize": 0, **options},
    )


def mark(axes: Axes, x: float, place: float, label: str | None = None) -> None:
    """A published number across a horizontal bar at height `place`."""
    style: Any = {"color": PUBLISHED, "linewidth": 2, "linestyle": (0, (2, 1)), "label": label}
    axes.plot([x, x], [place - 0.38, place + 0.38], **style)


def inscribe(axes: Axes, text: str, place: float) -> None:
    """Text in white at the foot of a horizontal bar at height `place`."""
    axes.annotate(text, (0, place), xytext=(5, 0), textcoords="offset points", va="center", color="white", fontsize=8.5)


def blank(axes: Axes, message: str) -> None:
    """Says in the middle of empty axes why they are empty."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.text(0.5, 0.5, message, transform=axes.transAxes, ha="center", va="center", color=GREY, wrap=True)


def message(text: str) -> Figure:
    """A low figure that holds nothing but a sentence."""
    figure, axes = canvas(height=0.9)
    blank(axes[0, 0], text)
    return figure


def number(value: float | None, digits: int = 2) -> str:
    """A number for people: a true minus sign, a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:z,.{digits}f}".replace("-", "−")
