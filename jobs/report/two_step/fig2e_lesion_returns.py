"""Fig 2E: return per episode with and without the TD latents."""

from __future__ import annotations

from jobs.published import curve
from jobs.report.drawing import Drawing
from jobs.report.lesioned import about
from jobs.report.lesions import read_effects, read_lesions, td_lesion
from jobs.report.reader import Reader, StudyFacts
from jobs.report.two_step.returns import (
    NO_LESION,
    draw_level,
    forced_episodes,
    own_returns,
    per_episode,
    read_returns,
    yardsticks_of,
)
from tdlens.figures import BLUE, VERMILION, band, canvas, number, published

NAME = "fig2e_lesion_returns"
TITLE = "Fig 2E · Return without the TD latents"
OVERLAY = "Fig 2E of the paper, Llama 3 70B without and with the block-34 TD latent at 0"


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Mean return of the intact and the lesioned model, controls as thin lines."""
    lesions = read_lesions(reader, facts)
    lesion = td_lesion(lesions)
    controls = lesion.beside(lesions)
    returns, theirs = read_returns(reader, facts), curve("td_in_llms", "fig2_A_E_returns")

    figure, axes = canvas(height=4.1)
    ax = axes[0, 0]
    ax.axvspan(-0.5, forced_episodes(returns) - 0.5, color="#F3F4F6", zorder=0)
    published(ax, theirs["episode"], theirs["E_nolesion"], "no lesion (published)")
    published(ax, theirs["episode"], theirs["E_TDlesion"], "TD latent zeroed (published)", linestyle=":")
    for control in controls:
        curve_of = per_episode(returns, control.name)
        ax.plot(
            curve_of.index,
            curve_of["mean"],
            color=control.colour,
            linewidth=1.0,
            label=control.zeroed,
        )
    for name, colour, label in (
        (NO_LESION, BLUE, "no lesion"),
        (lesion.name, VERMILION, f"TD latent{'s' if len(lesion.latents) > 1 else ''} zeroed"),
    ):
        ours = per_episode(returns, name)
        ax.plot(ours.index, ours["mean"], color=colour, label=label, marker="o", zorder=3)
        band(ax, ours.index, ours["mean"], ours["sem"], colour)
    draw_level(ax, yardsticks_of(facts)["chance"], "chance")
    ax.set(
        title="Return per episode, mean ± SEM over rollouts",
        xlabel="episode",
        ylabel="return (points)",
        xlim=(-0.5, max(int(returns["episode"].max()), 29) + 0.5),
    )
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))

    effects = read_effects(reader)
    change = effects.get((lesion.name, "return"))
    against = [
        f"{control.label} {effects[control.name, 'return'].difference.text()}"
        for control in controls
        if (control.name, "return") in effects
    ]
    drop = theirs["E_TDlesion"].iloc[7:].mean() - theirs["E_nolesion"].iloc[7:].mean()
    return Drawing(
        figure,
        sees=(
            f"Zeroing {len(lesion.latents)} TD latent{'s' if len(lesion.latents) > 1 else ''} of block {lesion.block} "
            f"before every choice changes the return by {change.difference.text() if change else '–'} points "
            f"[95 %, paired by seed]; published: {number(drop)}. {about(reader, facts, lesion)}"
        ),
        beside=(
            "Taking out anything may hurt. The same edit on other latents changes the return by: "
            + ("; ".join(against) + "." if against else "no control is recorded in this study.")
            + " The table of all interventions says how these were chosen. Of curves that coincide one sees the last."
        ),
        n=f"{len(own_returns(returns))} rollouts each, the same seeds",
    )
