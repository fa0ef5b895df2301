"""Fig 2A: return per episode."""

from __future__ import annotations

from jobs.published import curve
from jobs.report.drawing import Drawing
from jobs.report.reader import Reader, StudyFacts
from jobs.report.two_step.returns import (
    draw_level,
    forced_episodes,
    over_own,
    own_return,
    own_returns,
    per_episode,
    read_returns,
    yardsticks_of,
)
from tdlens.figures import BLUE, band, canvas, number, published

NAME = "fig2a_returns"
TITLE = "Fig 2A · Return per episode"
OVERLAY = "Fig 2A of the paper, Llama 3 70B and 8B on the standard variant, mean of 100 runs"


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Mean return over rollouts with its standard error, beside the published models."""
    returns = read_returns(reader, facts)
    ours, theirs = per_episode(returns), curve("td_in_llms", "fig2_A_E_returns")
    random = forced_episodes(returns)

    figure, axes = canvas(height=4.2)
    ax = axes[0, 0]
    ax.axvspan(-0.5, random - 0.5, color="#F3F4F6", zorder=0)
    ax.annotate("random actions", (0, 0.02), xycoords=("data", "axes fraction"), fontsize=8, color="#6B7280")
    for column, label, style in (
        ("A_70B", "Llama 3 70B (published)", {}),
        ("A_8B", "Llama 3 8B (published)", {"linestyle": ":"}),
    ):
        published(ax, theirs["episode"], theirs[f"{column}_return"], label, **style)
        band(ax, theirs["episode"], theirs[f"{column}_return"], theirs[f"{column}_sem"], "#6B7280")
    ax.plot(ours.index, ours["mean"], color=BLUE, marker="o", label=f"{facts.model_label} (ours)")
    band(ax, ours.index, ours["mean"], ours["sem"], BLUE)
    marks = yardsticks_of(facts)
    draw_level(ax, marks["chance"], "chance")
    draw_level(ax, marks["optimum"], "best possible")
    ax.set(
        title="Return per episode, mean ± SEM over rollouts",
        xlabel="episode",
        ylabel="return (points)",
        xlim=(-0.5, max(ours.index.max(), 29) + 0.5),
    )
    figure.legend(loc="outside lower center", ncols=3)

    mean = own_return(returns)
    n = len(own_returns(returns))
    return Drawing(
        figure,
        sees=(
            f"Once it chooses for itself (after {random} random episodes), {facts.model_label} earns "
            f"{mean.text() if mean else '–'} points an episode [95 % interval over rollouts]; Llama 3 70B earned "
            f"{number(theirs['A_70B_return'].iloc[7:].mean())} and Llama 3 8B "
            f"{number(theirs['A_8B_return'].iloc[7:].mean())} over the same episodes."
        ),
        beside=(
            f"Over these episodes chance is {number(over_own(marks['chance'], returns))} points and the best policy "
            f"gets {number(over_own(marks['optimum'], returns))}. A model may beat chance by repeating what paid, "
            "without learning values; the behaviour models below tell these apart."
        ),
        n=f"{n} rollouts of the {facts.variant} variant",
    )
