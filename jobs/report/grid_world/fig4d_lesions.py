"""Fig 4D: the probability of the agent's action without the TD latents of several blocks."""

from __future__ import annotations

from envs.grid_world import Variant
from jobs.report.drawing import Drawing
from jobs.report.grid_world.fig4a_prediction import CHANCE, draw_part_means, draw_published
from jobs.report.lesioned import changed
from jobs.report.lesions import read_lesions, td_lesion
from jobs.report.prediction import LATE_FROM, late_change, read_predictions
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from tdlens.figures import BLUE, VERMILION, canvas, level

NAME = "fig4d_lesions"
TITLE = "Fig 4D · Foretelling without the TD latents"
OVERLAY = "Fig 4D of the paper, one TD latent zeroed in each of the blocks 43, 53, 55 and 59"

PUBLISHED_CHANGES = {"none": -0.400, "lowest": -0.038}
"""Mean change of p over decisions 200 to 319 of the paper: its TD lesion and its control (read off Fig 4D)."""


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Intact and lesioned, controls as thin lines."""
    lesions = read_lesions(reader, facts)
    lesion = td_lesion(lesions)
    found = read_predictions(reader, facts)
    if not found.has(Variant.TRUE, lesion.name):
        raise NotRecorded("predictions without the TD latents")
    controls = [one for one in lesion.beside(lesions) if found.has(Variant.TRUE, one.name)]
    figure, axes = canvas(height=4.3)
    ax = axes[0, 0]
    for column, label, linestyle in (
        ("F4D_true", "no lesion (published)", None),
        ("F4D_control", "control latents zeroed (published)", "-."),
        ("F4D_TD", "TD latents zeroed (published)", ":"),
    ):
        draw_published(ax, column, found.width, label, linestyle)
    for control in controls:
        parts = found.of(Variant.TRUE, control.name)
        middle = parts.index + (found.width - 1) / 2
        ax.plot(middle, parts["mean"], color=control.colour, linewidth=1.0, label=control.zeroed)
    draw_part_means(ax, found.of(Variant.TRUE), found.width, "no lesion", BLUE)
    draw_part_means(ax, found.of(Variant.TRUE, lesion.name), found.width, "TD latents zeroed", VERMILION)
    level(ax, CHANCE, "chance")
    ax.set(
        title=f"p(the agent's action), mean over {found.width} decisions and rollouts",
        xlabel="decision",
        ylabel="probability among the four actions",
        ylim=(0, 1.02),
    )
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    change = late_change(found, Variant.TRUE, lesion.name)
    against = [
        f"{control.label} {other.text()}"
        for control in controls
        if (other := late_change(found, Variant.TRUE, control.name)) is not None
    ]
    return Drawing(
        figure,
        sees=(
            f"Zeroing {len(lesion.places)} TD latents in {len(lesion.blocks)} blocks at every decision changes p from "
            f"decision {round(LATE_FROM * found.decisions)} on by {change.text() if change else '–'} [95 %, paired by "
            f"rollout]; published: −0.40. {changed(reader, lesion)}"
        ),
        beside=(
            "The same edit of other latents changes it by: "
            + ("; ".join(against) + "." if against else "no control is recorded in this study.")
            + " The paper's one control, its lowest-correlation latents, changed it by −0.04. Latents that follow the "
            "step index as closely as the TD latents do are the control that the clock in the TD error calls for."
        ),
        n=f"{found.n_rollouts(Variant.TRUE)} rollouts, the same texts",
    )
