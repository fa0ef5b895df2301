"""Emotion words: cosines with Gold against cosines with Mold, and the vectors on the component of valence."""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.axes import Axes

from jobs.report.claims import or_none, shown
from jobs.report.drawing import Drawing, Table
from jobs.report.reader import Reader, StudyFacts
from jobs.report.welfare_axis import authors
from jobs.report.welfare_axis.emotions import Component, Words, of_valence, read_components, read_words
from jobs.report.welfare_axis.trainings import primary
from jobs.report.welfare_axis.vectors import CONCEPTS, Owner, owners
from tdlens.figures import GREY, blank, canvas, number, published

NAME = "emotions"
TITLE = "Gold and Mold among emotion words"
OVERLAY = (
    "Han et al. (2026), Qwen3-4B-Instruct: slope of the cosines; projections on PC1 in the table alone, since a length "
    "in another model's stream has no place on our axis"
)

NAMED = 3
"""Words written beside their points at each end of either axis."""


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Scatter on the left, projections of all models on the right."""
    first = Owner(primary(facts), primary(facts).variant)
    words = read_words(reader, first)
    figure, axes = canvas(1, 2, height=4.6, width_ratios=[1.15, 1])
    _scatter(axes[0, 0], words, first)
    best = of_valence(reader)
    components, along = (
        {one: or_none(partial(read_components, reader, one, which)) or {} for one in owners(facts)}
        for which in (1, best)
    )
    _projections(axes[0, 1], best, {one: found for one, found in along.items() if found})
    several = {one: or_none(lambda one=one: read_words(reader, one)) for one in owners(facts)}  # type: ignore[misc]
    return Drawing(
        figure,
        sees=_sees(words, {1: components.get(first, {}), best: along.get(first, {})}),
        beside=(
            "Emotion vectors are the naive model's: means over stories about each word, freed of the mean and of what "
            "neutral dialogues vary in. A strong negative r says that the two are mirror images among emotions; "
            "two vectors that are nearly opposite are so among any words, so r is to be read beside the sign of the "
            "valence: Gold near what is pleasant, Mold near what is not. On the right is how much of each vector's "
            "direction lies along the principal component that follows valence most closely, in the paper the first; "
            "bars hold 95 % of random vectors. Projections on the first, in the table, are cosines times the vectors' "
            "lengths, which differ between models. Valence is by a table, not asked of the model."
        ),
        n=f"{len(words.table)} emotion words, block {words.blocks['gold']}",
        table=_table(several, components),
    )


def _scatter(ax: Axes, words: Words, first: Owner) -> None:
    table = words.table
    points = ax.scatter(
        table["mold"], table["gold"], c=table["valence"], cmap="PuOr", vmin=-1, vmax=1, s=22, edgecolors=GREY,
        linewidths=0.4, zorder=2.5,
    )  # fmt: skip
    span = np.array([table["mold"].min(), table["mold"].max()])
    middle = float(table["mold"].mean()), float(table["gold"].mean())
    ax.plot(span, middle[1] + words.slope * (span - middle[0]), color="#222831", linewidth=1.2, label="ours")
    theirs = authors.emotions(first.training) if first.training is not None else None
    if theirs is not None:
        label = f"published slope {number(theirs.slope)} (r {number(theirs.r)})"
        published(ax, span, middle[1] + theirs.slope * (span - middle[0]), label)
    ends = dict.fromkeys(
        word
        for column in CONCEPTS
        for word in (*words.top(column, NAMED), *table[column].sort_values(kind="stable").index[:NAMED])
    )
    _name(ax, words, list(ends))
    ax.axhline(0, color=GREY, linewidth=0.6)
    ax.axvline(0, color=GREY, linewidth=0.6)
    ax.set(title=f"{first.name}: r = {shown(words.r)}", xlabel="cosine with Mold", ylabel="cosine with Gold")
    ax.margins(0.12)
    ax.legend(loc="upper right", fontsize=7.5)
    bar = ax.figure.colorbar(points, ax=ax, shrink=0.7, pad=0.02)
    bar.set_label("valence of the word", fontsize=8)


def _name(ax: Axes, words: Words, ends: list[str]) -> None:
    """Names beside points, moved apart where they would lie on each other."""
    places = sorted(((float(words.table["gold"][one]), one) for one in ends), reverse=True)
    least = 0.045 * float(np.ptp(words.table["gold"])) or 1e-9
    height = float("inf")
    for gold, one in places:
        height = min(gold, height - least)
        x = float(words.table["mold"][one])
        ax.annotate(
            one, (x, gold), xytext=(x + 0.02 * float(np.ptp(words.table["mold"])), height), fontsize=6.8, va="center",
            annotation_clip=False, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.45, "pad": 0.4},
        )  # fmt: skip


def _projections(ax: Axes, component: int, components: dict[Owner, dict[str, Component]]) -> None:
    if not components:
        blank(ax, "principal components are not recorded")
        return
    heights = np.arange(len(components))[::-1].astype(float)
    for height, found in zip(heights, components.values(), strict=True):
        for (concept, colour), offset in zip(CONCEPTS.items(), (0.16, -0.16), strict=True):
            if concept not in found:
                continue
            place = found[concept]
            random = place.random_cosine
            ax.plot([-random, random], [height + offset] * 2, color=GREY, linewidth=5, alpha=0.3)
            label = concept.capitalize() if height == heights[0] else None
            ax.plot([place.cosine], [height + offset], "o", color=colour, label=label)
    one = next(iter(next(iter(components.values())).values()))
    share = number(100 * one.explained, 0)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set(yticks=heights, yticklabels=[one.said.replace(" (", "\n(", 1) for one in components])
    ax.tick_params(axis="y", labelsize=7.4)
    ax.set(
        title=f"PC{component}, {share} % of the variance\nr with valence {number(one.valence_r)}",
        xlabel=f"cosine with PC{component}",
        ylim=(-0.6, len(heights) - 0.4),
    )
    ax.grid(axis="y", visible=False)
    ax.locator_params(axis="x", nbins=5)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, fontsize=7.5)


def _sees(words: Words, along: dict[int, dict[str, Component]]) -> str:
    told = f"r = {shown(words.r)}, slope {number(words.slope)}. "
    told += f"Nearest to Gold: {', '.join(words.top('gold'))}; to Mold: {', '.join(words.top('mold'))}."
    for component, found in along.items():
        if not found:
            continue
        one = next(iter(found.values()))
        told += (
            f" PC{component} follows valence with r = {number(one.valence_r)}; "
            f"{', '.join(f'cosine with {concept} {number(place.cosine, 3)}' for concept, place in found.items())}."
        )
    return told


def _table(several: dict[Owner, Words | None], components: dict[Owner, dict[str, Component]]) -> Table:
    rows = []
    for one, words in several.items():
        if words is None:
            continue
        found = components[one]
        theirs = authors.projections(one.training) if one.training or one.variant == "standard" else None
        rows.append(
            (
                one.said,
                shown(words.r),
                number(words.slope),
                ", ".join(words.top("gold", 5)),
                ", ".join(words.top("mold", 5)),
                *(
                    f"{number(found[name].cosine, 3)} ({number(found[name].projection)})" if name in found else "–"
                    for name in CONCEPTS
                ),
                "–" if theirs is None else " / ".join(number(theirs[name]) for name in CONCEPTS),
            )
        )
    header = (
        *("model", "r [95 %]", "slope", "nearest to Gold", "nearest to Mold"),
        *(f"{concept.capitalize()} on PC1: cosine (projection)" for concept in CONCEPTS),
        "published projections, Gold / Mold",
    )
    return Table(header, tuple(rows), words=(0, 3, 4))
