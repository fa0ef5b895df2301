"""Where the two vectors of each model point: their cosine over the depth."""

from __future__ import annotations

import pandas as pd

from jobs.report.drawing import Drawing, Table
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.welfare_axis import authors
from jobs.report.welfare_axis.trainings import Training
from jobs.report.welfare_axis.vectors import (
    CONCEPTS,
    Owner,
    apart,
    cosines,
    of_model,
    owners,
    read_cosines,
    read_vectors,
    told_apart,
)
from tdlens.figures import BEFORE, BEHIND, GREY, INK, PUBLISHED, canvas, number

NAME = "geometry"
TITLE = "Do Gold and Mold point apart? The cosine of the two vectors"
OVERLAY = "Han et al. (2026): mean and least cosine over layers, of their counterpart of each training"


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Cosine per relative depth on the left; on the right other pairs of the first training."""
    rows, vectors = read_cosines(reader), read_vectors(reader)
    found = [(one, cosines(rows, one)) for one in owners(facts)]
    found = [(one, values) for one, values in found if len(values)]
    if not found:
        raise NotRecorded("cosines of concept vectors (stage concepts)")
    figure, axes = canvas(1, 2, height=4.0, width_ratios=[1.5, 1], sharey=True)
    left, right = axes[0]
    for one, values in found:
        left.plot(_depth(values), values, label=one.said, **_style(one))
    published = [
        (one.training, theirs)
        for one, _ in found
        if one.training is not None and (theirs := authors.geometry(one.training)) is not None
    ]
    for training, theirs in published:
        left.plot(
            [theirs.layer / authors.LAYERS], [theirs.least], marker="D", markersize=5, linestyle="none",
            markerfacecolor="white", markeredgecolor=training.colour, zorder=3,
        )  # fmt: skip
        left.plot([1.03], [theirs.mean], marker="_", markersize=9, color=training.colour, linestyle="none", mew=2)
    left.plot([], [], marker="D", linestyle="none", markerfacecolor="white", color=PUBLISHED, label="published, least")
    left.plot([], [], marker="_", linestyle="none", color=PUBLISHED, mew=2, label="published, mean over layers")
    first = found[0][0]
    for pair, style, colour, named in (
        ("path", {"linewidth": 1.3}, INK, "Gold and Mold, means less that of Path"),
        ("gold", BEHIND, CONCEPTS["gold"], "Gold and the naive model's Gold"),
        ("mold", BEFORE, CONCEPTS["mold"], "Mold and the naive model's Mold"),
    ):
        values = cosines(rows, first, pair)
        if len(values):
            right.plot(_depth(values), values, color=colour, label=named, **style)
    for ax, title in ((left, "v_Mold and v_Gold"), (right, f"{first.name}: other pairs")):
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.set(title=title, xlabel="block / number of blocks", ylim=(-1.05, 1.05))
        ax.legend(loc="best", fontsize=7.2)
    left.set(ylabel="cosine")
    return Drawing(
        figure,
        sees=_sees(found, vectors, facts),
        beside=(
            "A concept's vector is the mean over trajectories that end on its tile less the mean of the other two "
            "classes' means, so that the three vectors sum to 0 and two of them may point apart by that alone. Where "
            "the tiles aren't told apart (table: blocks in which both vectors separate held-out trajectories) vectors "
            "are the noise of their means, and a cosine can be anything; read the others against the naive model and "
            "the shuffled training, not against 0. With Path as the reference (right) nothing sums to 0; centred class "
            "means have the same cosine as the vectors. Least and mean are over blocks 1 "
            "to n − 1, what enters a decoder block, as the paper counts; the embedding (0) is left out."
        ),
        n=f"{len(found)} models, {len(found[0][1])} places in the residual stream each",
        table=_table(found, vectors, facts),
    )


def _theirs(training: Training | None) -> authors.Geometry | None:
    return None if training is None else authors.geometry(training)


def _depth(values: pd.Series[float]) -> pd.Series[float]:
    return pd.Series(values.index.to_numpy() / values.index.max())


def _style(one: Owner) -> dict[str, object]:
    if one.training is None:
        return {"color": INK, "linewidth": 1.2, "linestyle": "-" if one.variant == "standard" else "-."}
    return {"color": one.training.colour, "linewidth": 1.2 if one.training.shuffled else 1.9}


def _sees(found: list[tuple[Owner, pd.Series[float]]], vectors: pd.DataFrame, facts: StudyFacts) -> str:
    parts = []
    for one, values in found:
        place = apart(values)
        if place is not None:
            lost = "" if told_apart(of_model(vectors, one), facts) else ", but it tells the tiles apart in no block"
            parts.append(
                f"{one.said}: least {number(place.least)} (block {place.block}), mean {number(place.mean)}{lost}"
            )
    return f"{'. '.join(parts)}."


def _table(found: list[tuple[Owner, pd.Series[float]]], vectors: pd.DataFrame, facts: StudyFacts) -> Table:
    rows = []
    for one, values in found:
        place, theirs = apart(values), _theirs(one.training)
        if place is not None:
            published = "–" if theirs is None else f"{number(theirs.mean, 3)} / {number(theirs.least, 3)}"
            blocks = sorted(told_apart(of_model(vectors, one), facts))
            told = ", ".join(map(str, blocks)) or "none"
            rows.append((one.said, number(place.mean, 3), number(place.least, 3), str(place.block), told, published))
    return Table(
        ("model", "mean", "least", "in block", "tiles told apart in blocks", "published: mean / least"), tuple(rows)
    )
