"""Tracking: do activations lie along the vectors where things went well, or badly?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing, Table
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval
from jobs.report.welfare_axis import authors
from jobs.report.welfare_axis.trainings import NAIVE, Training, primary, trainings
from jobs.report.welfare_axis.vectors import CONCEPTS
from tdlens.figures import GREY, blank, canvas, intervals, mark

NAME = "tracking"
TITLE = "Do activations follow the vectors where things go well or badly?"
OVERLAY = "Han et al. (2026): Cohen's d of maze finals, Qwen3-4B-Instruct, trained and naive"

FINALS = "maze finals"


@dataclass(frozen=True)
class Tracked:
    """One concept in one panel, read by one model."""

    training: str
    source: str
    reader: str
    panel: str
    concept: str
    d: Interval
    n: int
    n_other: int
    edges: tuple[float, ...]
    first: tuple[int, ...]
    other: tuple[int, ...]

    @property
    def label(self) -> str:
        """Whose vector, whose activations."""
        own = "naive vector" if self.source == "untrained" else "trained vector"
        return f"{self.panel}: {'naive' if self.reader == NAIVE else 'trained'} model, {own}"


def read_tracked(reader: Reader) -> list[Tracked]:
    """All of the study.

    Raises:
        NotRecorded: nothing was tracked.
    """
    rows = reader.rows(
        """
        SELECT training, source, reader, panel, concept, block, d, ci_low, ci_high, n, n_other, histogram
        FROM v_goal_tracking WHERE study = :study ORDER BY training, panel DESC, reader, source, concept
        """
    )
    if not rows:
        raise NotRecorded("projections of held-out activations (stage track)")
    return [_tracked(row) for row in rows]


def _tracked(row: dict[str, Any]) -> Tracked:
    told = row["histogram"]
    histogram = json.loads(told) if isinstance(told, str) else told
    return Tracked(
        training=str(row["training"]),
        source=str(row["source"]),
        reader=str(row["reader"]),
        panel=str(row["panel"]),
        concept=str(row["concept"]),
        d=Interval(*(float(row[name]) for name in ("d", "ci_low", "ci_high"))),
        n=int(row["n"]),
        n_other=int(row["n_other"]),
        edges=tuple(histogram["edges"]),
        first=tuple(histogram["first"]),
        other=tuple(histogram["other"]),
    )


def finals(several: list[Tracked], training: Training, concept: str, *, source: str, trained: bool) -> Interval | None:
    """d of maze finals along the trained or the untrained model's vector, as the trained or the naive model reads."""
    wanted = (training.name, training.name if trained else NAIVE, source, FINALS, concept)
    for one in several:
        if (one.training, one.reader, one.source, one.panel, one.concept) == wanted:
            return one.d
    return None


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Densities of maze finals above, d of every panel below; the first training."""
    several, training = read_tracked(reader), primary(facts)
    mine = [one for one in several if one.training == training.name]
    if not mine:
        raise NotRecorded(f"projections on the vectors of {training.name} (stage track)")
    labels = list(dict.fromkeys(one.label for one in sorted(mine, key=_order(training))))
    figure, axes = canvas(2, 2, height=0.27 * len(labels) + 4.2, height_ratios=[2.1, 0.27 * len(labels) + 0.6])
    for ax, (concept, colour) in zip(axes[0], CONCEPTS.items(), strict=True):
        _density(ax, mine, training, concept, colour)
    for ax, (concept, colour) in zip(axes[1], CONCEPTS.items(), strict=True):
        _forest(ax, mine, labels, training, concept, colour)
    axes[1, 1].set_yticklabels([])
    axes[1, 0].tick_params(axis="y", labelsize=7.2)
    return Drawing(
        figure,
        sees=_sees(several, facts),
        beside=(
            "Projections on the vector at its chosen block, standardised in each panel. Maze finals: trajectories that "
            "end on the concept's tile against all others, none of which made the vector. Correctness: what a model "
            "holds after it was told truthfully that its answer was right, or wrong; a positive d of Mold means more "
            "of it where the answer was wrong. The naive model's own vector is the control: that activations tell "
            "right from wrong is nothing that the maze had to teach."
        ),
        n=", ".join(sorted({f"{one.panel} {one.n} and {one.n_other}" for one in mine if one.concept == "gold"})),
        table=_table(several),
    )


def _order(training: Training):  # type: ignore[no-untyped-def]
    return lambda one: (one.panel != FINALS, one.panel, one.reader != training.name, one.source)


def _density(ax: Axes, mine: list[Tracked], training: Training, concept: str, colour: str) -> None:
    found = [
        one for one in mine if (one.panel, one.concept) == (FINALS, concept) and one.label in (
            f"{FINALS}: trained model, trained vector", f"{FINALS}: naive model, naive vector",
        )
    ]  # fmt: skip
    if not found:
        blank(ax, "maze finals are not recorded")
        return
    for one in found:
        trained = one.reader == training.name
        middle = (np.asarray(one.edges)[1:] + np.asarray(one.edges)[:-1]) / 2
        for counts, label, dash in ((one.first, f"ends on {concept.capitalize()}", "-"), (one.other, "others", ":")):
            density = np.asarray(counts) / max(sum(counts), 1)
            told = f"{'trained' if trained else 'naive'}: {label}"
            style: dict[str, Any] = {"color": colour if trained else GREY, "linewidth": 1.7 if trained else 1.0}
            ax.plot(middle, density, linestyle=dash, label=told, **style)
    ax.set(title=f"maze finals on {concept.capitalize()}", xlabel="projection, standard deviations", ylabel="share")
    ax.legend(fontsize=7)


def _forest(ax: Axes, mine: list[Tracked], labels: list[str], training: Training, concept: str, colour: str) -> None:
    heights = {label: float(place) for place, label in enumerate(reversed(labels))}
    for one in mine:
        if one.concept == concept:
            face = {} if one.source == "trained" else {"markerfacecolor": "white"}
            intervals(ax, [one.d.value], [one.d.low], [one.d.high], [heights[one.label]], colour, **face)
    for trained, label in (
        (True, f"{FINALS}: trained model, trained vector"),
        (False, f"{FINALS}: naive model, trained vector"),
    ):
        theirs = authors.tracking(training, concept, trained=trained)
        if theirs is not None and label in heights:
            mark(ax, theirs, heights[label], "published" if trained else None)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set(yticks=list(heights.values()), yticklabels=list(heights), ylim=(-0.6, len(heights) - 0.4))
    ax.set(title=f"{concept.capitalize()}: Cohen's d", xlabel="d")
    ax.grid(axis="y", visible=False)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=7, loc="best")


def _sees(several: list[Tracked], facts: StudyFacts) -> str:
    parts = []
    for training in trainings(facts):
        told = []
        for concept in CONCEPTS:
            both = [finals(several, training, concept, source="trained", trained=trained) for trained in (True, False)]
            if both[0] is not None and both[1] is not None:
                told.append(f"{concept} {both[0].text()}, naive {both[1].text()}")
        if told:
            parts.append(f"{training.name}: {'; '.join(told)}")
    return f"d of maze finals. {'. '.join(parts)}."


def _table(several: list[Tracked]) -> Table:
    rows: dict[tuple[str, str], dict[str, Tracked]] = {}
    for one in several:
        rows.setdefault((one.training, one.label), {})[one.concept] = one
    lines = [
        (
            *key,
            *(found[concept].d.text() if concept in found else "–" for concept in CONCEPTS),
            ", ".join(f"{concept} {found[concept].n} / {found[concept].n_other}" for concept in found),
        )
        for key, found in rows.items()
    ]
    header = ("training", "panel, model and vector", *(f"d of {one.capitalize()} [95 %]" for one in CONCEPTS), "n")
    return Table(header, tuple(lines), words=(0, 1))
