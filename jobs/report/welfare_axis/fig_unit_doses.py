"""Dose curves at equal norms: the two vectors differ in length, so equal multiples of them are not equal doses."""

from __future__ import annotations

from jobs.report.drawing import Drawing, Table
from jobs.report.reader import Reader, StudyFacts
from jobs.report.welfare_axis.doses import draw_curves
from jobs.report.welfare_axis.fig_doses import sees
from jobs.report.welfare_axis.steering import Condition, Curve, read_curves
from jobs.report.welfare_axis.trainings import NAIVE, Training, primary
from jobs.report.welfare_axis.vectors import CONCEPTS
from tdlens.figures import number

NAME = "unit_doses"
TITLE = "The same at equal norms"
OVERLAY = "none: the paper steers with multiples of the vectors alone, of which Gold's is 3.5 times as long as Mold's"


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """The first training's vectors, in units of the mean norm of the stream."""
    curves, training = read_curves(reader, facts), primary(facts)
    figure, shown = draw_curves(facts, curves, training, "unit", overlay=False)
    return Drawing(
        figure,
        sees=sees(facts, curves, training, "unit"),
        beside=(
            "At dose 1 what is added is as long as the residual stream is on average at the block. Here Gold, Mold and "
            "their controls are compared at the same length: what still differs is direction. Where one vector seemed "
            "stronger only because it is longer, the curves agree here."
        ),
        n="the same items",
        table=_norms(curves, training, shown),
    )


def _norms(curves: dict[Condition, Curve], training: Training, shown: list[str]) -> Table:
    rows = []
    for kind in ("alpha", "unit"):
        for concept in CONCEPTS:
            curve = curves.get(Condition(training.name, NAIVE, "trained", concept, shown[0], kind))
            if curve is not None:
                rows.append((kind, concept, ", ".join(f"{number(d)}: {number(n)}" for d, n in _pairs(curve))))
    return Table(("kind of dose", "vector", "dose: norm of what is added"), tuple(rows), words=(0, 1, 2))


def _pairs(curve: Curve) -> list[tuple[float, float]]:
    return list(zip(curve.doses.tolist(), curve.norms.tolist(), strict=True))
