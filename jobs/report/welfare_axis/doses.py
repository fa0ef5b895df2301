"""Dose curves: rows are evaluations, the two columns are the vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jobs.report.reader import NotRecorded, StudyFacts
from jobs.report.welfare_axis import authors
from jobs.report.welfare_axis.steering import Condition, Curve, Evaluation, evaluations
from jobs.report.welfare_axis.trainings import NAIVE, Training
from jobs.report.welfare_axis.vectors import CONCEPTS
from tdlens.figures import GREEN, INK, PUBLISHED, PURPLE, canvas, published


@dataclass(frozen=True)
class Line:
    """A kind of condition as it is drawn."""

    label: str
    reader: str
    source: str
    style: dict[str, Any]


PALE = "#9CA3AF"
"""The paper's controls."""
DASHES = ((0, (4, 2)), (0, (1.5, 1.5)))
"""Of the paper's evaluations, in their order."""
MARKERS = ("D", "s")
"""Likewise."""


def lines(training: Training) -> list[Line]:
    """What is drawn of a training, from the back to the front: controls lie on the vector, so that none is hidden."""
    return [
        Line("the vector, naive model steered", NAIVE, "trained", {"linewidth": 4.5, "alpha": 0.55}),
        Line("the vector, trained model steered", training.name, "trained", {"color": GREEN, "linewidth": 1.4}),
        Line(
            "the naive model's own vector, same norm", NAIVE, "untrained",
            {"color": INK, "linewidth": 1.2, "linestyle": (0, (7, 2))},
        ),
        Line(
            "random pairs of the same norms and angle", NAIVE, "random",
            {"color": PURPLE, "linewidth": 1.3, "linestyle": (0, (1, 1.4))},
        ),
    ]  # fmt: skip


def draw_curves(
    facts: StudyFacts, curves: dict[Condition, Curve], training: Training, kind: str, *, overlay: bool
) -> tuple[Figure, list[str]]:
    """The figure, and which evaluations are in it.

    Args:
        facts: of the study.
        curves: by condition.
        training: whose vectors.
        kind: of the dose.
        overlay: whether published curves are drawn, too.

    Raises:
        NotRecorded: nothing was steered with these doses.
    """
    rows = [one for one in evaluations(facts) if any(_is(key, training, one, kind) for key in curves)]
    if not rows:
        raise NotRecorded(f"steering by {kind} with the vectors of {training.name} (stage steer)")
    figure, axes = canvas(len(rows), 2, height=2.15 * len(rows) + 0.9, sharex=True, sharey="row")
    for across, one in zip(axes, rows, strict=True):
        for ax, (concept, colour) in zip(across, CONCEPTS.items(), strict=True):
            _panel(ax, curves, training, one, concept, kind, colour)
            if overlay:
                _overlay(ax, training, one, concept)
            expected = "rise" if (one.expected > 0) == (concept == "gold") else "fall"
            ax.set(title=f"{one.title} + {concept.capitalize()} · expected to {expected}")
        across[0].set(ylabel=one.unit)
    for ax in axes[-1]:
        ax.set(xlabel="α, times the vector" if kind == "alpha" else "dose, times the mean norm of the stream")
    _legend(figure, axes)
    return figure, [one.name for one in rows]


def _is(key: Condition, training: Training, one: Evaluation, kind: str) -> bool:
    return (key.training, key.evaluation, key.kind) == (training.name, one.name, kind)


def _panel(
    ax: Axes, curves: dict[Condition, Curve], training: Training, one: Evaluation, concept: str, kind: str, colour: str
) -> None:
    for place, line in enumerate(lines(training)):
        curve = curves.get(Condition(training.name, line.reader, line.source, concept, one.name, kind))
        if curve is None:
            continue
        style = {"color": colour, **line.style}
        ax.plot(curve.doses, curve.values, label=line.label, zorder=2.2 + 0.1 * place, **style)
        if (line.reader, line.source) == (NAIVE, "trained") or line.source == "random":
            ax.fill_between(curve.doses, curve.lows, curve.highs, color=style["color"], alpha=0.16, linewidth=0)
        if (line.reader, line.source) == (NAIVE, "trained"):
            wild = np.nan_to_num(curve.incoherent) > 0.5
            label = "more than half of the replies incoherent" if wild.any() else None
            ax.plot(
                curve.doses[wild], curve.values[wild], "o", markerfacecolor="white", markeredgecolor=colour,
                markersize=6, label=label, zorder=3,
            )  # fmt: skip
            ax.set(xticks=curve.doses)


def _overlay(ax: Axes, training: Training, one: Evaluation, concept: str) -> None:
    for theirs, dash, marker in zip(one.published, DASHES, MARKERS, strict=False):
        for source, width, colour in (("trained", 1.2, PUBLISHED), ("untrained", 0.9, PALE)):
            found = authors.curve(training, concept, source, theirs)
            if found is not None:
                second = f" ({authors.NAMES[theirs]})" * (len(one.published) > 1)
                style = {"linestyle": dash, "linewidth": width, "color": colour, "marker": marker, "markersize": 3.6}
                label = f"published{second}{'' if source == 'trained' else ', its control'}"
                published(ax, found.index, found / one.scale, label, markerfacecolor="white", **style)


def _legend(figure: Figure, axes: Any) -> None:
    entries: dict[str, Any] = {}
    for ax in axes.flat:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    plain = {label: handle for label, handle in entries.items() if not label.startswith("published")}
    figure.legend(
        [*plain.values(), *(entries[label] for label in entries if label not in plain)],
        [*plain, *(label for label in entries if label not in plain)],
        loc="outside lower center",
        ncols=2,
        fontsize=7.8,
    )
