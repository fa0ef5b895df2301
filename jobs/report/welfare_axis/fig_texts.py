"""What steered models write, and how much of it is coherent."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing, Table
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.welfare_axis import authors
from jobs.report.welfare_axis.doses import DASHES
from jobs.report.welfare_axis.steering import Condition, Curve, Evaluation, evaluations, read_curves
from jobs.report.welfare_axis.trainings import NAIVE, Training, primary
from jobs.report.welfare_axis.vectors import CONCEPTS
from tdlens.figures import BEFORE, BEHIND, canvas, number, published

NAME = "texts"
TITLE = "Replies under steering, and how many fall apart"
OVERLAY = "Han et al. (2026): share of incoherent replies of the naive Qwen3-4B-Instruct, where they give it"

LONGEST = 220
"""Characters of a reply in the table."""


def read_texts(reader: Reader, training: Training) -> pd.DataFrame:
    """One reply a condition and dose: evaluation, concept, dose, prompt, text, label, score; the naive model steered.

    The first sample of the first item; doses are multiples of the trained model's vectors.
    """
    rows = reader.ask(
        """
        SELECT evaluation, concept, dose, item, sample, prompt, text, label, score FROM v_steered_text
        WHERE study = :study AND training = :training AND reader = :reader AND source = 'trained'
            AND dose_kind = 'alpha'
        ORDER BY evaluation, concept, dose, item, sample
        """,
        training=training.name,
        reader=NAIVE,
    )
    return rows.groupby(["evaluation", "concept", "dose"], sort=False).first().reset_index()


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Share of incoherent replies by dose; the table has texts."""
    training, curves = primary(facts), read_curves(reader, facts)
    written = [
        one
        for one in evaluations(facts)
        if (curve := curves.get(Condition(training.name, NAIVE, "trained", "gold", one.name, "alpha"))) is not None
        and pd.notna(curve.incoherent).any()
    ]
    if not written:
        raise NotRecorded("replies under steering (stage steer)")
    figure, axes = canvas(1, len(written), height=3.1, sharey=True)
    for ax, one in zip(axes[0], written, strict=True):
        for (concept, colour), style in zip(CONCEPTS.items(), (BEHIND, BEFORE), strict=True):
            for source, thinner in (("trained", 1.0), ("untrained", 0.5)):
                curve = curves.get(Condition(training.name, NAIVE, source, concept, one.name, "alpha"))
                if curve is None:
                    continue
                label = f"{concept.capitalize()}{'' if source == 'trained' else ', naive model’s own'}"
                told = style | {
                    "linewidth": thinner * style["linewidth"],
                    "marker": "" if thinner == 1 else "^v"[concept == "mold"],
                }
                ax.plot(curve.doses, curve.incoherent, color=colour, label=label, **told)
            _overlay(ax, training, one, concept, colour)
        ax.set(title=one.title, xlabel="α", ylim=(-0.03, 1.03))
    axes[0, 0].set(ylabel="share of incoherent replies")
    entries: dict[str, Any] = {}
    for ax in axes[0]:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=3, fontsize=7.8)
    return Drawing(
        figure,
        sees=_sees(curves, training, written),
        beside=(
            "An incoherent reply has no value: it is left out of the dose curves and counted here. Where most are left "
            "out, what remains is no fair sample of what the dose does. The texts below are the first reply to the "
            "first item at each dose, chosen by nobody; all replies are in the artifact items of the steer jobs."
        ),
        n=", ".join(f"{one.title.lower()} {_n(curves, training, one)} items" for one in written),
        table=_table(read_texts(reader, training)),
    )


def _overlay(ax: Axes, training: Training, one: Evaluation, concept: str, colour: str) -> None:
    found = authors.incoherent(training, concept, one.published[0])
    if found is not None and len(found):
        style: dict[str, Any] = {
            "color": colour,
            "linestyle": DASHES[0],
            "marker": "D",
            "markersize": 4,
            "linewidth": 1.0,
        }
        published(ax, found.index, found, f"published, {concept.capitalize()}", **style)


def _n(curves: dict[Condition, Curve], training: Training, one: Evaluation) -> int:
    return curves[Condition(training.name, NAIVE, "trained", "gold", one.name, "alpha")].n


def _sees(curves: dict[Condition, Curve], training: Training, written: list[Evaluation]) -> str:
    parts = []
    for one in written:
        worst = []
        for concept in CONCEPTS:
            curve = curves.get(Condition(training.name, NAIVE, "trained", concept, one.name, "alpha"))
            if curve is not None:
                place = int(pd.Series(curve.incoherent).fillna(-1).to_numpy().argmax())
                share, dose = curve.incoherent[place], curve.doses[place]
                worst.append(
                    f"{concept} {number(100 * share)} % at α = {number(dose, 1)}" if share else f"{concept} none"
                )
        parts.append(f"{one.title}: {', '.join(worst)}")
    return f"Most incoherent replies: {'; '.join(parts)}."


def _table(texts: pd.DataFrame) -> Table | None:
    if texts.empty:
        return None
    rows = tuple(
        (
            str(row["evaluation"]),
            str(row["concept"]),
            number(row["dose"], 1),
            _cut(str(row["prompt"]), 120),
            _cut(str(row["text"]), LONGEST),
            str(row["label"]),
        )
        for row in texts.to_dict("records")
    )
    return Table(("evaluation", "vector", "α", "asked", "reply", "judged"), rows, words=(0, 1, 3, 4, 5))


def _cut(text: str, longest: int) -> str:
    short = " ".join(text.split())
    return short if len(short) <= longest else f"{short[: longest - 1]}…"
