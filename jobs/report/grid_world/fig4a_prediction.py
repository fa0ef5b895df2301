"""Fig 4A: the probability of the agent's action, with its rewards and with random ones in the prompt."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from envs.grid_world import ACTIONS, Variant
from jobs.published import curve
from jobs.report.drawing import Drawing
from jobs.report.prediction import LATE_FROM, in_parts, read_predictions
from jobs.report.reader import Reader, StudyFacts
from tdlens.figures import BLUE, ORANGE, band, canvas, level, number, published

NAME = "fig4a_prediction"
TITLE = "Fig 4A · Foretelling the agent's actions"
OVERLAY = "Fig 4A of the paper, Llama 3 70B, 50 runs, averaged over the same parts of a rollout"

CHANCE = 1 / len(ACTIONS)
SHOWN = (
    (Variant.TRUE, "true rewards", BLUE, "F4A_true", None),
    (Variant.RANDOM, "random rewards", ORANGE, "F4A_random", ":"),
)


def draw_part_means(ax: Axes, parts: pd.DataFrame, width: int, label: str, colour: str) -> None:
    """A curve over decisions with its 95 % interval over rollouts."""
    middle = parts.index + (width - 1) / 2
    ax.plot(middle, parts["mean"], color=colour, marker="o", markersize=3.5, label=label)
    band(ax, middle, parts["mean"], parts["half"], colour)


def draw_published(ax: Axes, column: str, width: int, label: str, linestyle: str | None = None) -> None:
    """A published curve of Figs 4A, 4D, averaged as ours is."""
    theirs = curve("td_in_llms", "fig4_A_D_paction")
    parts = in_parts(theirs["step"], theirs[column], width)
    options = {} if linestyle is None else {"linestyle": linestyle}
    published(ax, parts.index + (width - 1) / 2, parts, label, **options)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Mean over rollouts in parts of a rollout, beside the published curves."""
    found = read_predictions(reader, facts)
    figure, axes = canvas(height=4.1)
    ax = axes[0, 0]
    for variant, label, colour, column, linestyle in SHOWN:
        draw_published(ax, column, found.width, f"{label}, Llama 3 70B (published)", linestyle)
        if found.has(variant):
            draw_part_means(ax, found.of(variant), found.width, f"{label}, {facts.model_label} (ours)", colour)
    level(ax, CHANCE, "chance")
    ax.set(
        title=f"p(the agent's action), mean over {found.width} decisions and rollouts",
        xlabel="decision",
        ylabel="probability among the four actions",
        ylim=(0, 1.02),
    )
    figure.legend(loc="outside lower center", ncols=2)
    late = found.mean(Variant.TRUE)
    gap = found.change((Variant.TRUE, "none"), (Variant.RANDOM, "none")) if found.has(Variant.RANDOM) else None
    theirs = curve("td_in_llms", "fig4_A_D_paction")
    theirs = theirs[theirs["step"] >= LATE_FROM * 320]
    return Drawing(
        figure,
        sees=(
            f"From decision {round(LATE_FROM * found.decisions)} on, {facts.model_label} gives the agent's action "
            f"{late.text() if late else '–'} [95 % interval over rollouts]; with random rewards in the prompt it loses "
            f"{gap.text() if gap else '–'} of that. Llama 3 70B: {number(theirs['F4A_true'].mean())} and "
            f"{number((theirs['F4A_true'] - theirs['F4A_random']).mean())}."
        ),
        beside=(
            "The agent's own moves become predictable as it settles on one path, so whoever copies its past actions "
            "foretells them too, without using a reward. Only the gap to the prompts with other rewards, on the same "
            "moves, speaks of rewards; see Fig 9 for rewards removed and swapped. A band is the 95 % interval over "
            "rollouts; the paper doesn't say what its band is."
        ),
        n=f"{found.n_rollouts(Variant.TRUE)} rollouts of {found.decisions} decisions, the same moves in every prompt",
    )
