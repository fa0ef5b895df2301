"""The whole pattern: Gold's slope less Mold's in each evaluation, against what controls of the same norm do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from jobs.report.claims import shown
from jobs.report.drawing import Drawing, Table
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval
from jobs.report.welfare_axis import authors
from jobs.report.welfare_axis.steering import INTERACTIONS, Evaluation, Slopes, evaluations, read_slopes, slope
from jobs.report.welfare_axis.trainings import NAIVE, Training, primary, trainings
from tdlens.figures import GREY, INK, canvas, intervals, mark

NAME = "pattern"
TITLE = "The whole pattern against its controls"
OVERLAY = (
    "computed from the dose curves of Han et al. (2026): least-squares slopes over their five doses, naive model; no "
    "interval, since they publish no items"
)

SOURCES = {"trained": "the vectors", "untrained": "naive model's own", "random": "random"}


@dataclass(frozen=True)
class Row:
    """A line of the forest."""

    training: Training
    reader: str
    source: str
    kind: str = "alpha"

    @property
    def label(self) -> str:
        """For the axis."""
        steered = "" if self.reader == NAIVE else ", trained model steered"
        named = SOURCES.get(self.source) or f"vectors − {SOURCES[self.source.rsplit(' ', 1)[-1]]}"
        return f"{self.training.name}: {named}{steered}"

    @property
    def interaction(self) -> bool:
        """Whether it is a difference of contrasts."""
        return self.source in INTERACTIONS.values()


def rows_of(slopes: Slopes, facts: StudyFacts, kind: str = "alpha") -> list[Row]:
    """The lines there are, the study's trainings in their order."""
    there = {(key[0], key[1], key[5]) for key in slopes if key[2] == kind and key[4] == "contrast"}
    order = [*SOURCES, *INTERACTIONS.values()]
    return [
        Row(one, reader, source, kind)
        for one in trainings(facts)
        for reader in (NAIVE, one.name)
        for source in order
        if (one.name, reader, source) in there
    ]


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A panel an evaluation; filled points are differences to a control."""
    slopes = read_slopes(reader, facts)
    rows, asked = rows_of(slopes, facts), evaluations(facts)
    if not rows:
        raise NotRecorded("slopes over alpha (stage contrast)")
    figure, axes = canvas(1, len(asked), height=0.27 * len(rows) + 1.7, sharey=True)
    heights = np.arange(len(rows))[::-1].astype(float)
    for ax, one in zip(axes[0], asked, strict=True):
        for height, row in zip(heights, rows, strict=True):
            _point(ax, slopes, one, row, height, first=row is rows[0])
        ax.axvline(0, color=GREY, linewidth=1)
        ax.set(title=f"{one.title}\nexpected {'> 0' if one.expected > 0 else '< 0'}", xlabel="slope per α")
        ax.title.set_fontsize(9)
        ax.grid(axis="y", visible=False)
        ax.locator_params(axis="x", nbins=4)
    axes[0, 0].set(yticks=heights, yticklabels=[row.label for row in rows], ylim=(-0.6, len(rows) - 0.4))
    axes[0, 0].tick_params(axis="y", labelsize=7.4)
    for ax in axes[0]:
        for height, row, below in zip(heights, rows, rows[1:], strict=False):
            if row.training is not below.training:
                ax.axhline(height - 0.5, color=GREY, linewidth=0.5)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center")
    return Drawing(
        figure,
        sees=_sees(slopes, facts, asked),
        beside=(
            "Hollow points are contrasts, Gold's slope over the dose less Mold's; filled ones are what the vectors do "
            "beyond a control of the same norm, paired by item: these interactions have to be on the expected side in "
            "all evaluations at once for the pattern to count as found, so that no correction for their number is due "
            "(intersection-union). A control that is flat proves nothing, and one that isn't is no counter-example."
        ),
        n="slopes over the doses of each item, intervals over items",
        table=_table(slopes, facts, asked),
    )


def _point(ax: Axes, slopes: Slopes, one: Evaluation, row: Row, height: float, *, first: bool) -> None:
    found = slope(slopes, row.training.name, one.name, source=row.source, reader=row.reader, kind=row.kind)
    if found is not None:
        colour = row.training.colour if row.source != "untrained" and row.source != "random" else INK
        face = {} if row.interaction else {"markerfacecolor": "white"}
        intervals(ax, [found.value], [found.low], [found.high], [height], colour, **face)
    theirs = published_contrast(row, one)
    if theirs is not None:
        mark(ax, theirs, height, "published" if first else None)


def published_contrast(row: Row, one: Evaluation) -> float | None:
    """The paper's number of a line, on our scale, from its first evaluation of the kind; None where it has none."""
    if row.kind != "alpha" or row.reader != NAIVE or row.source in ("random", INTERACTIONS["random"]):
        return None
    name = one.published[0]
    if row.source != INTERACTIONS["untrained"]:
        value = authors.contrast(row.training, row.source, name)
    else:
        both = [authors.contrast(row.training, source, name) for source in ("trained", "untrained")]
        value = None if both[0] is None or both[1] is None else both[0] - both[1]
    return None if value is None else value / one.scale


def _sees(slopes: Slopes, facts: StudyFacts, asked: list[Evaluation]) -> str:
    parts = []
    for training in trainings(facts):
        signs = [_side(slope(slopes, training.name, one.name, source=INTERACTIONS["untrained"]), one) for one in asked]
        yes, no = signs.count(True), signs.count(False)
        if yes + no + signs.count(None) and any(
            slope(slopes, training.name, one.name, source=INTERACTIONS["untrained"]) is not None for one in asked
        ):
            parts.append(f"{training.said}: {yes} of {len(asked)} as expected, {no} the other way round")
    return (
        "Beyond the naive model's own vectors, with intervals that exclude 0: "
        f"{'; '.join(parts) or 'nothing to compare'}."
    )


def _side(found: Interval | None, one: Evaluation) -> bool | None:
    """Whether an interval lies on the expected side, on the other, or around 0."""
    if found is None or found.low <= 0 <= found.high:
        return None
    return (found.value > 0) == (one.expected > 0)


def _table(slopes: Slopes, facts: StudyFacts, asked: list[Evaluation]) -> Table:
    lines = []
    for row in [*rows_of(slopes, facts), *rows_of(slopes, facts, "unit")]:
        if row.kind == "unit" and not (row.interaction or row.training is primary(facts)):
            continue
        cells = [
            shown(slope(slopes, row.training.name, one.name, source=row.source, reader=row.reader, kind=row.kind), 3)
            for one in asked
        ]
        lines.append((row.label, "α" if row.kind == "alpha" else "unit norm", *cells))
    return Table(("Gold − Mold", "dose", *(f"{one.title} [95 %]" for one in asked)), tuple(lines), words=(0, 1))
