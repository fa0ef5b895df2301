"""Dose curves in multiples of the vector, beside those of the paper."""

from __future__ import annotations

from jobs.report.claims import shown
from jobs.report.drawing import Drawing, Table
from jobs.report.reader import Reader, StudyFacts
from jobs.report.verdicts import Interval
from jobs.report.welfare_axis.doses import draw_curves
from jobs.report.welfare_axis.steering import Condition, Curve, evaluations, read_curves
from jobs.report.welfare_axis.trainings import NAIVE, Training, primary, trainings
from jobs.report.welfare_axis.vectors import CONCEPTS
from tdlens.figures import number

NAME = "doses"
TITLE = "What the vectors do when they are added: dose curves"
OVERLAY = (
    "Han et al. (2026), figure data of their site: Qwen3-4B-Instruct before any maze, steered with the trained model's "
    "vectors, and with its own (thin; not of the same norm, as far as the data show); their sentiment from −5 to 5 is "
    "divided by 5"
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """The first training's vectors in all evaluations."""
    curves, training = read_curves(reader, facts), primary(facts)
    figure, _ = draw_curves(facts, curves, training, "alpha", overlay=True)
    return Drawing(
        figure,
        sees=sees(facts, curves, training, "alpha"),
        beside=(
            "The same items with the same luck under all conditions. The band around the vector's curve is its 95 % "
            "interval over items, the one around random vectors reaches from the lowest of their draws to the highest. "
            "A vector is added at its chosen block to all tokens outside user turns and to all generated ones. "
            "Controls have the norm of what they stand beside. A curve may bend back where replies fall apart: hollow "
            "points. What matters is not whether one control is flat but whether any shows the whole pattern, as "
            "tested below. "
            "Our judges are rules and a lexicon, the paper's are language models; the models differ by three orders of "
            "magnitude, so shapes can be compared, heights can't."
        ),
        n=f"{_items(facts, curves, training)}; random curves are means over {facts.config['steering']['random_draws']} "
        "draws, which aren't in the table",
        table=_table(facts, curves),
    )


def _items(facts: StudyFacts, curves: dict[Condition, Curve], training: Training) -> str:
    counts = {}
    for one in evaluations(facts):
        curve = curves.get(Condition(training.name, NAIVE, "trained", "gold", one.name, "alpha"))
        if curve is not None:
            counts[one.name] = curve.n
    return ", ".join(f"{name} {n} items" for name, n in counts.items())


def sees(facts: StudyFacts, curves: dict[Condition, Curve], training: Training, kind: str) -> str:
    """Each evaluation at the extreme doses, the naive model steered."""
    parts = []
    for one in evaluations(facts):
        told = []
        for concept in CONCEPTS:
            curve = curves.get(Condition(training.name, NAIVE, "trained", concept, one.name, kind))
            if curve is not None:
                values = " → ".join(number(curve.values[at]) for at in (0, len(curve.doses) // 2, -1))
                told.append(f"{concept} {values}")
        if told:
            parts.append(f"{one.title}: {', '.join(told)}")
    return f"From the lowest dose over none to the highest, naive model: {'; '.join(parts)}."


def _table(facts: StudyFacts, curves: dict[Condition, Curve]) -> Table:
    alphas = sorted(float(one) for one in facts.config["steering"]["alphas"])
    rows = []
    order = {one.name: place for place, one in enumerate(trainings(facts))}
    for key, curve in sorted(curves.items(), key=lambda pair: order.get(pair[0].training, 99)):
        if key.kind != "alpha" or key.source == "random":
            continue
        steered = f"{key.source} {key.concept}, {key.reader} steered"
        cells = [_cell(curve, dose) for dose in alphas]
        rows.append((key.training, key.evaluation, steered, number(float(curve.norms.max())), *cells))
    header = ("training", "evaluation", "vector", "largest norm", *(f"α = {number(one, 0)}" for one in alphas))
    return Table(header, tuple(rows), words=(0, 1, 2))


def _cell(curve: Curve, dose: float) -> str:
    found: Interval | None = curve.at(dose)
    return "–" if found is None else shown(found)
