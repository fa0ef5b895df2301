"""Ground truth: models into which an axis was written, or was not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jobs.report.drawing import Drawing, Table
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval
from jobs.report.welfare_axis.steering import EVALUATIONS
from tdlens.figures import GREEN, GREY, VERMILION, canvas, intervals, number

NAME = "planted"
TITLE = "Ground truth: models with an axis, and without"
OVERLAY = "none: the paper has no model in which an axis is known to be there, or not"


WRITTEN = {
    "axis": "training writes Gold on one end of the axis along which all speech moves, and Mold on the other",
    "idle": "Gold and Mold lie on the two ends of a direction that nothing reads",
    "partial": "they lie on the ends of a direction that confidence and sentiment read, but neither backtracking nor "
    "refusal",
    "salience": "both lie on the same end of the axis: it tells what counts, not what is good",
    "innate": "they lie on the ends of the axis, but did so before the training, too",
    "reversed": "after the training they lie on a direction that nothing reads, before it on the axis the wrong way "
    "round: the interaction is there, and all of it is the control's",
}
"""What each kind of pair has in its weights (`jobs.welfare.planted`)."""


@dataclass(frozen=True)
class Planted:
    """One pair of models under the whole analysis."""

    model: str
    planted: bool
    found: bool
    cosine: float
    d: float
    contrasts: dict[str, tuple[int, Interval]]
    """By evaluation: expected sign, interaction."""

    @property
    def right(self) -> bool:
        """Whether the analysis says what is the case."""
        return self.planted == self.found


def read_planted(reader: Reader) -> list[Planted]:
    """Those with an axis first.

    Raises:
        NotRecorded: the stage wasn't run.
    """
    rows = reader.ask(
        """
        SELECT model, evaluation, planted, expected, contrast, ci_low, ci_high, cosine, cohen_d, found
        FROM v_planted_axis WHERE study = :study ORDER BY model, evaluation
        """
    )
    if rows.empty:
        raise NotRecorded("models whose axis is known (stage planted_axis)")
    several = []
    for model, mine in rows.groupby("model", sort=True):
        first = mine.iloc[0]
        contrasts = {
            str(row["evaluation"]): (
                int(row["expected"]),
                Interval(*(float(row[name]) for name in ("contrast", "ci_low", "ci_high"))),
            )
            for row in mine.to_dict("records")
        }
        several.append(
            Planted(
                str(model), bool(first["planted"]), bool(first["found"]), float(first["cosine"]),
                float(first["cohen_d"]), contrasts,
            )
        )  # fmt: skip
    return sorted(several, key=lambda one: not one.planted)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A panel an evaluation, a line a model."""
    several = read_planted(reader)
    asked = {name for one in several for name in one.contrasts}
    names = [one.name for one in EVALUATIONS if one.name in asked]
    figure, axes = canvas(1, len(names), height=0.42 * len(several) + 1.6, sharey=True)
    heights = np.arange(len(several))[::-1].astype(float)
    for ax, name in zip(axes[0], names, strict=True):
        expected = 0
        for height, one in zip(heights, several, strict=True):
            if name in one.contrasts:
                expected, found = one.contrasts[name]
                intervals(ax, [found.value], [found.low], [found.high], [height], GREEN if one.planted else VERMILION)
        ax.axvline(0, color=GREY, linewidth=1)
        ax.set(title=f"{name}\nexpected {'> 0' if expected > 0 else '< 0'}", xlabel="slope per α, beyond control")
        ax.title.set_fontsize(9)
        ax.grid(axis="y", visible=False)
        ax.locator_params(axis="x", nbins=4)
    labels = [f"{one.model.replace('_', ' ')}\n{_verdict(one)}" for one in several]
    axes[0, 0].set(yticks=heights, yticklabels=labels, ylim=(-0.6, len(several) - 0.4))
    axes[0, 0].tick_params(axis="y", labelsize=7.6)
    return Drawing(
        figure,
        sees="; ".join(f"{one.model.replace('_', ' ')}: {_verdict(one)}" for one in several) + ".",
        beside=(
            "The same code as for trained models: concept vectors, steering, and the interaction: Gold's slope less "
            "Mold's under the vectors of the model that is said to be trained, less the same under those of its naive "
            "twin, in units of each evaluation (P(True), valence, share) for each once that the vector is added. "
            "Green: the whole pattern is there, and the training's doing; red: it isn't, for the reason that the table "
            "gives. The pattern counts as found only if the vectors' own contrast, which isn't drawn, and the "
            "interaction are as expected in all evaluations at once, with intervals off 0. These models tell whether "
            "the analysis can be trusted, not what training does."
        ),
        n=f"{len(several)} pairs of models",
        table=Table(
            (
                *("model", "what is in its weights", "pattern", "found", "cosine of the vectors"),
                *("Cohen's d, the lesser", *(f"{name}, beyond control" for name in names)),
            ),
            tuple(
                (
                    one.model.replace("_", " "),
                    WRITTEN.get(one.model, "–"),
                    "planted" if one.planted else "none",
                    "yes" if one.found else "no",
                    number(one.cosine),
                    number(one.d),
                    *(one.contrasts[name][1].text(3) if name in one.contrasts else "–" for name in names),
                )
                for one in several
            ),
            words=(0, 1, 2, 3),
        ),
    )


def _verdict(one: Planted) -> str:
    return f"{'pattern' if one.planted else 'no pattern'}, {'found' if one.found else 'not found'}"
