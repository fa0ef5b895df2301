"""Fig 2F: how like the Q-learner the lesioned model behaves."""

from __future__ import annotations

import numpy as np

from jobs.published import headlines
from jobs.report.drawing import Drawing
from jobs.report.lesioned import about
from jobs.report.lesions import read_effects, read_lesions, td_lesion
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.two_step.fig2b_behaviour import PUBLISHED_CHOICES, read_fits
from tdlens.figures import BLUE, GREY, INK, canvas, inscribe, intervals, mark, number

NAME = "fig2f_lesion_nll"
TITLE = "Fig 2F · Likeness to Q-learning without the TD latents"
OVERLAY = "Fig 2F of the paper: 2,730 nats intact, 2,939 without the TD latent, 2,632 without a control latent"


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """NLL per choice under the Q-model fitted to the intact model, intact and under each lesion."""
    lesions, effects = read_lesions(reader, facts), read_effects(reader)
    lesion = td_lesion(lesions)
    shown = [one for one in (lesion, *lesion.beside(lesions)) if (one.name, "nll_q") in effects]
    if lesion not in shown:
        raise NotRecorded("the likelihood of the lesioned choices under the Q-model")
    rows = [effects[one.name, "nll_q"] for one in shown]
    choices = next(iter(read_fits(reader, facts).values())).n_choices

    figure, axes = canvas(height=0.62 * (len(shown) + 1) + 1.4)
    ax = axes[0, 0]
    places = np.arange(len(shown) + 1)[::-1]
    values = [rows[0].baseline, *(row.value for row in rows)]
    colours = [BLUE, *(one.colour for one in shown)]
    ax.barh(places, np.divide(values, choices), height=0.55, color=colours)
    bounds = np.array([[row.baseline + row.difference.low, row.baseline + row.difference.high] for row in rows])
    means = np.array(values[1:]) / choices
    intervals(ax, means, bounds[:, 0] / choices, bounds[:, 1] / choices, places[1:], INK, fmt="none", capsize=3)
    theirs = headlines("td_in_llms")
    marks = {"intact": "nll_no_lesion", "none": "nll_td_lesion", "lowest": "nll_control_lesion"}
    for place, value, role in zip(places, values, ["intact", *(one.control for one in shown)], strict=True):
        inscribe(ax, number(value, 0), place)
        if role in marks:
            mark(ax, theirs[marks[role]].value / PUBLISHED_CHOICES, place)
    mark(ax, float("nan"), 0, label="Llama 3 70B (published)")
    ax.plot([], [], color=INK, label="95 % interval of the change")
    ax.axvline(np.log(2), color=GREY, linestyle=":", linewidth=1, label="chance (ln 2)")
    ax.set(
        yticks=places,
        yticklabels=["no lesion", *(one.zeroed for one in shown)],
        title="Surprise of the choices under Q-learning",
        xlabel="negative log likelihood (nats per choice; sums on the bars)",
    )
    ax.grid(axis="y", visible=False)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return Drawing(
        figure,
        sees=(
            "Longer bars are less like Q-learning. Zeroing the TD latents changes the sum by "
            f"{rows[0].difference.text(1)} nats; published: +209. {about(reader, facts, lesion)}"
        ),
        beside=(
            "The Q-model, inverse temperature included, is the one fitted to the intact model's choices, so a lesion "
            "that only makes choices noisier also counts as less like it. In the paper the control lesion made "
            "behaviour more like Q-learning (−98 nats) than no lesion at all."
        ),
        n=f"{choices:,} choices of {rows[0].n_rollouts} rollouts each",
    )
