"""Along the first training: do the vectors separate, and turn apart, as the return grows?"""

from __future__ import annotations

import numpy as np

from jobs.report.drawing import Drawing, Table
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.welfare_axis.trainings import primary, read_progress
from jobs.report.welfare_axis.vectors import Passed, read_passed
from tdlens.figures import BLUE, VERMILION, blank, canvas, number, whole_numbers

NAME = "checkpoints"
TITLE = "Along the training: return, separation and angle"
OVERLAY = "none: the paper says that separation grows with reward and draws it without numbers"


def read_line(reader: Reader, facts: StudyFacts) -> list[Passed]:
    """The first training's checkpoints in their order, from the naive model to the trained one.

    Raises:
        NotRecorded: nothing was trained, or checkpoints have no vectors.
    """
    training, progress = primary(facts), read_progress(reader, facts)
    if training.name not in progress:
        raise NotRecorded(f"the training {training.name} (stage train_in_maze)")
    return read_passed(reader, facts, progress[training.name], training)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Over the steps on the left, over the return on the right."""
    line, training = read_line(reader, facts), primary(facts)
    steps, points = [one.step for one in line], [one.points for one in line]
    figure, axes = canvas(2, 2, height=5.0, sharey="row")
    rows = (
        ("d", "Cohen's d, the lesser concept", VERMILION, [one.d for one in line]),
        ("least", "least cosine of Gold and Mold", BLUE, [one.least for one in line]),
    )
    for across, (_, title, colour, values) in zip(axes, rows, strict=True):
        if not np.isfinite(values).any():
            for ax in across:
                blank(ax, "both tiles are told apart in no block of any of these models")
            continue
        across[0].plot(steps, values, "o-", color=colour)
        across[1].plot(points, values, "o", color=colour)
        across[1].plot(points, values, "-", color=colour, linewidth=0.7, alpha=0.5)
        for place, (x, y, step) in enumerate(zip(points, values, steps, strict=True)):
            above = 5 if place % 2 else -11
            across[1].annotate(str(step), (x, y), xytext=(-3, above), textcoords="offset points", fontsize=7)
        across[0].set(ylabel=title, xlabel="step of training")
        whole_numbers(across[0])
        across[1].set(xlabel="mean return since the checkpoint before, points")
        across[1].margins(0.1)
    axes[0, 0].set(title=f"{training.name}: over the steps")
    axes[0, 1].set(title="over the return (numbers: steps)")
    return Drawing(
        figure,
        sees=(
            f"From step {steps[0]} to {steps[-1]} the return goes from {number(points[0], 1)} to "
            f"{number(points[-1], 1)}, d at the best block of each from {number(line[0].d)} to {number(line[-1].d)}. "
            + _turned(line)
        ),
        beside=(
            "Checkpoints of one training follow each other, so they are no independent sample: that two things grow "
            "over the same steps doesn't say that one makes the other. Other trainings, the shuffled one above all, "
            "are the better control. The cosine is read only in blocks where both tiles are told apart on held-out "
            "trajectories."
        ),
        n=f"{len(line)} models, the naive one (step 0) and the trained one included",
        table=Table(
            ("step", "return", "d", "least cosine"),
            tuple((str(one.step), number(one.points, 1), number(one.d), number(one.least, 3)) for one in line),
            words=(),
        ),
    )


def _turned(line: list[Passed]) -> str:
    known = [one for one in line if np.isfinite(one.least)]
    if not known:
        return "In none of these models do both vectors tell the tiles apart, so that no cosine can be read."
    return f"The least cosine goes from {number(known[0].least)} at step {known[0].step} to {number(known[-1].least)}."


def trend(line: list[Passed], name: str) -> float:
    """Spearman's rank correlation of the return with d, or with the least cosine."""
    from scipy import stats

    values = np.array([(one.points, getattr(one, name)) for one in line], dtype=float)
    values = values[np.isfinite(values).all(1)]
    if len(values) < 3 or len(set(values[:, 0])) < 2 or len(set(values[:, 1])) < 2:
        return float("nan")
    return float(stats.spearmanr(values[:, 0], values[:, 1]).statistic)
