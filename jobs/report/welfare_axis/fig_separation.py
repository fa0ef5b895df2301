"""How well concept vectors tell held-out trajectories apart in each block, and which block the rule chooses."""

from __future__ import annotations

import pandas as pd

from jobs.report.drawing import Drawing, Table
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.welfare_axis import authors
from jobs.report.welfare_axis.trainings import primary
from jobs.report.welfare_axis.vectors import CONCEPTS, Owner, chosen, naive_of, of_owner, owners, read_vectors
from tdlens.figures import INK, canvas, level, number, whole_numbers

NAME = "separation"
TITLE = "Where the vectors separate, and the block that is chosen"
OVERLAY = "Han et al. (2026): the vectors' norms at the chosen layers, in the table; separation by layer isn't printed"

MEASURES = (("auroc", "AUROC"), ("cohen_d", "Cohen's d"), ("overlap", "overlap of histograms"))


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Rows: concepts; columns: three measures, of one scale each; the first training beside the naive model."""
    rows = read_vectors(reader)
    first = primary(facts)
    pair = [Owner(first, first.variant), naive_of(first)]
    if of_owner(rows, pair[0], "gold").empty:
        raise NotRecorded(f"concept vectors of {first.name} (stage concepts)")
    figure, axes = canvas(len(CONCEPTS), len(MEASURES), height=4.8, sharex=True, sharey="col")
    for across, (concept, colour) in zip(axes, CONCEPTS.items(), strict=True):
        for ax, (measure, title) in zip(across, MEASURES, strict=True):
            for one in pair:
                mine = of_owner(rows, one, concept)
                trained = one.training is not None
                style = {"color": colour if trained else INK, "linewidth": 1.9 if trained else 1.1}
                ax.plot(mine["block"], mine[measure], label=f"{one.name}", **style)
                place = mine[mine["chosen"]]
                ax.plot(place["block"], place[measure], "o", color=style["color"], markersize=6)
            if measure == "auroc":
                level(ax, 0.5, "chance")
            ax.set(title=f"{concept.capitalize()}: {title}")
        across[2].legend(loc="best", fontsize=7.5)
    axes[0, 2].set(ylim=(0, 1))
    for ax in axes[-1]:
        ax.set(xlabel="block")
        whole_numbers(ax)
    return Drawing(
        figure,
        sees=_sees(rows, pair),
        beside=(
            "By trajectories that made no vector, and choose the block: projections of those that end on the concept's "
            "tile against all others. The dot is the chosen block: of those between the first and the last place, the "
            "floor of the mean of where AUROC is highest, where the size of Cohen's d is largest and where the "
            "histograms overlap least, which may itself be none of the three. The naive model separates the tiles as "
            "well as far as it reads their pictures and walks: separation alone is no axis."
        ),
        n=f"{' to '.join(str(n) for n in sorted({int(rows['n'].min()), int(rows['n'].max())}))} trajectories of a "
        "concept behind each vector",
        table=_table(rows, owners(facts)),
    )


def _sees(rows: pd.DataFrame, pair: list[Owner]) -> str:
    parts = []
    for one in pair:
        for concept in CONCEPTS:
            place = chosen(rows, one, concept)
            if place is not None:
                parts.append(
                    f"{one.name}, {concept}: block {int(place['block'])}, AUROC {number(place['auroc'])}, "
                    f"d {number(place['cohen_d'])}"
                )
    return f"At the chosen blocks: {'; '.join(parts)}."


def _table(rows: pd.DataFrame, several: list[Owner]) -> Table:
    lines = []
    for one in several:
        for concept in CONCEPTS:
            place = chosen(rows, one, concept)
            if place is None:
                continue
            theirs = authors.norm(one.training, concept) if one.training is not None else None
            lines.append(
                (
                    one.said,
                    concept,
                    str(int(place["block"])),
                    number(place["norm"]),
                    number(place["norm"] / place["stream_norm"], 3),
                    number(place["auroc"], 3),
                    number(place["cohen_d"]),
                    number(place["overlap"], 3),
                    "–" if theirs is None else f"{number(theirs.norm)} @ {theirs.layer:g}",
                )
            )
    header = (
        *("model", "concept", "block", "norm", "norm / stream's", "AUROC", "Cohen's d", "overlap"),
        "published norm @ layer",
    )
    return Table(header, tuple(lines), words=(0, 1))
