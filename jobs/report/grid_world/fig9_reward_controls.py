"""Fig 9: what the prompt's rewards are worth: the true ones against rewards removed and swapped."""

from __future__ import annotations

from envs.grid_world import Variant
from jobs.published import curve
from jobs.report.drawing import Drawing
from jobs.report.grid_world.fig4a_prediction import draw_part_means
from jobs.report.prediction import LATE_FROM, NO_LESION, in_parts, read_predictions
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from tdlens.figures import BLUE, GREEN, GREY, ORANGE, canvas, number, published

NAME = "fig9_reward_controls"
TITLE = "Fig 9 · Prompts with other rewards"
OVERLAY = "Fig 9 of the paper, Llama 3 70B, averaged over the same parts of a rollout; random rewards from Fig 4A"

PAPER_STEPS = 320
"""Decisions of a published run."""

SHOWN = (
    (Variant.REMOVED, "rewards removed", GREEN),
    (Variant.SWAPPED, "signs swapped", BLUE),
    (Variant.RANDOM, "random rewards", ORANGE),
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """The true prompt's advantage over each other prompt, in parts of a rollout."""
    found = read_predictions(reader, facts)
    shown = [(variant, label, colour) for variant, label, colour in SHOWN if found.has(variant)]
    if not shown:
        raise NotRecorded("predictions from prompts with other rewards")
    fig9, fig4 = curve("td_in_llms", "fig9_gridcontrol_delta_p"), curve("td_in_llms", "fig4_A_D_paction")
    theirs = {
        Variant.REMOVED: (fig9["step"], fig9["orig_minus_noreward"]),
        Variant.SWAPPED: (fig9["step"], fig9["orig_minus_swapped"]),
        Variant.RANDOM: (fig4["step"], fig4["F4A_true"] - fig4["F4A_random"]),
    }
    figure, axes = canvas(1, len(shown), height=3.6, sharey=True)
    words = []
    for ax, (variant, label, colour) in zip(axes[0], shown, strict=True):
        parts = in_parts(*theirs[variant], found.width)
        published(ax, parts.index + (found.width - 1) / 2, parts, "Llama 3 70B (published)")
        pair = (Variant.TRUE, NO_LESION), (variant, NO_LESION)
        draw_part_means(ax, found.difference(*pair), found.width, f"{facts.model_label} (ours)", colour)
        ax.axhline(0, color=GREY, linewidth=0.9)
        ax.set(title=f"true − {label}", xlabel="decision")
        ax.legend(fontsize=7.5, loc="upper left")
        change = found.change(*pair)
        late = parts[parts.index >= LATE_FROM * PAPER_STEPS].mean()
        words.append(f"{label} {change.text() if change else '–'}, published {number(late)}")
    axes[0, 0].set_ylabel("difference in p(the agent's action)")
    return Drawing(
        figure,
        sees=(
            f"What the true rewards are worth from decision {found.late_from} on [95 %, paired by rollout], and in the "
            "published curves from the same share of a rollout on, against: " + "; ".join(words) + "."
        ),
        beside=(
            "The moves are the same in every prompt. A model that copies the agent's past moves shows no difference, "
            "and one that has only ever read true rewards may also lose because the other prompts are strange to it: "
            "a gap is needed for learning from rewards, and doesn't prove it."
        ),
        n=f"{found.n_rollouts(Variant.TRUE)} rollouts",
    )
