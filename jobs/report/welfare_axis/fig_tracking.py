"""Tracking: do activations lie along the vectors where things went well, or badly?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from jobs.report.drawing import Drawing, Table
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval
from jobs.report.welfare_axis import authors
from jobs.report.welfare_axis.trainings import NAIVE, Training, primary, trainings
from jobs.report.welfare_axis.vectors import CONCEPTS
from tdlens.figures import GREY, INK, PUBLISHED, blank, canvas, intervals

NAME = "tracking"
TITLE = "Do activations follow the vectors where things go well or badly?"
OVERLAY = "Han et al. (2026): Cohen's d of maze finals, Qwen3-4B-Instruct, trained and naive"

FINALS, CORRECTNESS = "maze finals", "correctness"
OFFSETS = {(True, True): 0.27, (True, False): 0.09, (False, True): -0.09, (False, False): -0.27}
"""Of a line from its panel's middle, by whether the model and the vector are the trained ones."""
Array = NDArray[np.float64]


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
    """Densities of maze finals, their d, and that of right and wrong answers; the first training."""
    several, training = read_tracked(reader), primary(facts)
    mine = [one for one in several if one.training == training.name]
    if not mine:
        raise NotRecorded(f"projections on the vectors of {training.name} (stage track)")
    panels = {one.panel: _label(one.panel, mine) for one in sorted(mine, key=_order)}
    finals_, judged = ([name for name in panels if (name == FINALS) == of_finals] for of_finals in (True, False))
    heights = [2.2, *(0.75 * len(names) + 0.35 for names in (finals_, judged) if names)]
    figure, axes = canvas(len(heights), 2, height=sum(heights) + 1.6, height_ratios=heights)
    for ax, (concept, colour) in zip(axes[0], CONCEPTS.items(), strict=True):
        _density(ax, mine, training, concept, colour)
    for across, names in zip(axes[1:], [names for names in (finals_, judged) if names], strict=True):
        across[1].sharex(across[0])
        for ax, (concept, colour) in zip(across, CONCEPTS.items(), strict=True):
            _forest(ax, mine, {name: panels[name] for name in names}, training, concept, colour)
    _legend(figure)
    return Drawing(
        figure,
        sees=_sees(several, facts),
        beside=(
            "Projections on the vector at its chosen block, standardised in each panel. Maze finals: trajectories that "
            "end on the concept's tile against all others, none of which made the vector or chose its block. "
            "Correctness: what a model holds after it was told truthfully that its answer was right, less what it "
            "holds after it was told that it was wrong: Gold's d is expected to be above 0, Mold's below. The numbers "
            "below a panel's name are those of the two kinds; of a handful d means little. The naive model's own "
            "vector is the control: that activations tell right from wrong is nothing that the maze had to teach, and "
            "where two words differ, the projections on almost any direction do."
        ),
        n="; ".join(label.replace("\n", ": ", 1).replace("\n", ", ") for label in panels.values()),
        table=_table(several),
    )


def _order(one: Tracked) -> tuple[bool, bool, int, str]:
    """Maze finals, all answers, thirds by confidence, other parts."""
    third = one.panel.removeprefix(f"{CORRECTNESS}, ").removesuffix(" confidence")
    thirds = ("low", "middle", "high")
    return one.panel != FINALS, one.panel != CORRECTNESS, (*thirds, third).index(third), one.panel


def _label(panel: str, mine: list[Tracked]) -> str:
    """With the numbers of both kinds; of both models, where each gave its own answers."""
    kinds = ("on it", "elsewhere") if panel == FINALS else ("right", "wrong")
    counts = {"naive" if one.reader == NAIVE else "trained": (one.n, one.n_other) for one in mine if one.panel == panel}
    told = {who: f"{n} {kinds[0]}, {n_other} {kinds[1]}" for who, (n, n_other) in sorted(counts.items(), reverse=True)}
    if len(set(told.values())) > 1:
        told = {who: f"{who} {said}" for who, said in told.items()}
    return "\n".join([panel.removeprefix(f"{CORRECTNESS}, "), *dict.fromkeys(told.values())])


def _density(ax: Axes, mine: list[Tracked], training: Training, concept: str, colour: str) -> None:
    found = [
        one for one in mine if (one.panel, one.concept) == (FINALS, concept) and one.label in (
            f"{FINALS}: trained model, trained vector", f"{FINALS}: naive model, trained vector",
        )
    ]  # fmt: skip
    if not found:
        blank(ax, "maze finals are not recorded")
        return
    for one in found:
        trained = one.reader == training.name
        kinds = ((one.first, f"ends on {concept.capitalize()}", "-"), (one.other, "others", (0, (2, 1.5))))
        for counts, label, dash in kinds:
            edges, shares = rebinned(one.edges, counts, most=round(min(one.n, one.n_other) ** 0.5))
            told = f"{'trained' if trained else 'naive'}: {label}"
            style: dict[str, Any] = {"color": colour if trained else GREY, "linewidth": 1.8 if trained else 1.1}
            ax.stairs(shares, edges, linestyle=dash, label=told, **style)
    ax.set(title=f"maze finals on {concept.capitalize()}", xlabel="projection, standard deviations", ylabel="share")
    ax.set(ylim=(0, 1.45 * ax.get_ylim()[1]))
    ax.legend(fontsize=7, ncols=2, loc="upper center")


def rebinned(edges: Sequence[float], counts: Sequence[int], most: int) -> tuple[Array, Array]:
    """Edges and shares of a histogram whose neighbouring bins are put together, so that there are no more than `most`.

    The last bin takes what is left over, and may be narrower.
    """
    together = -(-len(counts) // max(most, 1))
    starts = np.arange(0, len(counts), together)
    shares = np.add.reduceat(np.asarray(counts, float), starts) / max(sum(counts), 1)
    return np.append(np.asarray(edges, float)[starts], edges[-1]), shares


def _forest(
    ax: Axes, mine: list[Tracked], panels: dict[str, str], training: Training, concept: str, colour: str
) -> None:
    heights = {name: float(place) for place, name in enumerate(reversed(panels))}
    for one in mine:
        if one.concept == concept and one.panel in heights:
            own, trained = one.source == "trained", one.reader == training.name
            height = heights[one.panel] + OFFSETS[trained, own]
            face = {"markerfacecolor": colour if own else "white", "fmt": "o" if trained else "s"}
            intervals(ax, [one.d.value], [one.d.low], [one.d.high], [height], colour if trained else INK, **face)
    for trained in (True, False):
        theirs = authors.tracking(training, concept, trained=trained) if FINALS in heights else None
        if theirs is not None:
            place = heights[FINALS] + OFFSETS[trained, True]
            ax.plot([theirs], [place], "|", color=PUBLISHED, markersize=11, mew=2.2)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set(yticks=list(heights.values()), yticklabels=list(panels.values())[::-1], ylim=(-0.6, len(heights) - 0.4))
    ax.tick_params(axis="y", labelsize=7.4)
    what = "tile against others" if FINALS in heights else "told right less told wrong"
    ax.set(title=f"{concept.capitalize()}: {what}", xlabel="Cohen's d")
    ax.grid(axis="y", visible=False)


def _legend(figure: Figure) -> None:
    handles = [
        Line2D(
            [], [], color=GREY if trained else INK, marker="o" if trained else "s", linestyle="none",
            markerfacecolor=(GREY if trained else INK) if own else "white",
            label=f"{'trained' if trained else 'naive'} model, {'trained' if own else 'naive'} vector",
        )
        for trained, own in OFFSETS
    ]  # fmt: skip
    mark = Line2D([], [], color=PUBLISHED, marker="|", linestyle="none", markersize=11, mew=2.2, label="published")
    figure.legend(handles=[*handles, mark], loc="outside lower center", ncols=5, fontsize=7.8)


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
