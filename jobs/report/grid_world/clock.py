"""How much of the TD error is a clock, and how much of that the latents that follow it are."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.strongest import selected
from jobs.report.verdicts import Interval, mean_interval
from tdlens.figures import BLUE, GREEN, GREY, INK, ORANGE, VERMILION, band, canvas, intervals, number

NAME = "clock"
TITLE = "A signal that is nearly a clock"
OVERLAY = "none: the paper reports no correlation with time"

TARGET = "td_error"
RIVALS = {
    "log_step": "log of the decision's index",
    "step": "the decision's index",
    "episode_step": "moves in the episode",
    "previous_reward": "the last reward",
    "last_reward": "the last return",
    "max_so_far": "the best return so far",
}
"""What else may carry the signal: time, place and reward."""


def read_signals(reader: Reader, facts: StudyFacts) -> pd.DataFrame:
    """The TD error and its rivals at every decision of the first variant, a row a decision.

    Raises:
        NotRecorded: no learner has replayed the rollouts.
    """
    rows = reader.ask(
        """
        SELECT rollout_index, step, signal, value FROM v_learning_signal
        WHERE study = :study AND model = :model AND variant = :variant AND intervention = 'none'
          AND signal IN :signals
        """,
        model=facts.model,
        variant=facts.variant,
        signals=(TARGET, *RIVALS),
    )
    if rows.empty or TARGET not in set(rows["signal"]):
        raise NotRecorded("a learner's TD errors")
    return rows.pivot_table(index=["rollout_index", "step"], columns="signal", values="value")


def with_rivals(signals: pd.DataFrame) -> dict[str, Interval]:
    """Pearson's r of the TD error and each rival, one a rollout: mean and interval over rollouts."""
    found = {}
    for rival in RIVALS:
        if rival in signals:
            per_rollout = [here[TARGET].corr(here[rival]) for _, here in signals.groupby(level=0)]
            interval = mean_interval([r for r in per_rollout if r == r])
            if interval is not None:
                found[rival] = interval
    return found


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Left: the signal over time. Middle: what it correlates with. Right: what the chosen latents tell."""
    signals = read_signals(reader, facts)
    found = with_rivals(signals)
    figure, axes = canvas(1, 3, height=3.7)
    left, middle, right = axes[0]
    by_step = signals[TARGET].groupby(level="step").agg(["mean", "std"])
    left.plot(by_step.index, by_step["mean"], color=BLUE)
    band(left, by_step.index, by_step["mean"], by_step["std"], BLUE)
    left.set(title="TD error, mean ± SD", xlabel="decision", ylabel="points")
    places = list(range(len(found)))[::-1]
    value, low, high = ([getattr(one, name) for one in found.values()] for name in ("value", "low", "high"))
    intervals(middle, value, low, high, places, INK)
    middle.axvline(0, color=GREY, linewidth=0.9)
    middle.set(yticks=places, yticklabels=[RIVALS[name] for name in found], xlim=(-1, 1), xlabel="Pearson r, a rollout")
    middle.set(title="… follows")
    middle.tick_params(axis="y", labelsize=7.5)
    middle.grid(axis="y", visible=False)
    _draw_latents(right, reader, facts)
    strongest = max(found, key=lambda name: abs(found[name].value)) if found else None
    return Drawing(
        figure,
        sees=(
            f"Within a rollout the TD error follows {RIVALS[strongest]} at r = {found[strongest].text()} "
            "[95 % interval over rollouts]. Right: the latent that follows the TD error best in each block, how it "
            "follows the clock, and what is left of its correlation once the covariates are held constant."
            if strongest
            else "No rival of the TD error is recorded."
        ),
        beside=(
            "The TD error is averaged over the whole history, and so it is a slow and almost monotone function of "
            "time; whatever tells the time correlates with it. A partial r given step, its logarithm and rewards is "
            "what speaks of learning, and a lesion of latents that tell the time as well is its control."
        ),
        n=f"{signals.index.get_level_values(0).nunique()} rollouts of the {facts.variant} variant",
    )


def _draw_latents(ax: Axes, reader: Reader, facts: StudyFacts) -> None:
    chosen = selected(reader, facts, (TARGET,))
    chosen = chosen[(chosen["source"] == "sae") & (chosen["sae"] == facts.sae)].set_index("block")
    others = reader.ask(
        """
        SELECT block, latent, signal, r FROM v_latent_correlation
        WHERE study = :study AND sae = :sae AND signal IN ('step', 'log_step') ORDER BY block, latent
        """,
        sae=facts.sae,
    )
    depth = chosen.index / facts.n_blocks
    ax.plot(depth, chosen["r_heldout"], color=BLUE, marker="o", label="r with the TD error")
    for signal, colour in (("log_step", GREEN), ("step", ORANGE)):
        table = others[others["signal"] == signal].set_index(["block", "latent"])["r"]
        values = [table.get((block, row["latent"]), float("nan")) for block, row in chosen.iterrows()]
        ax.plot(depth, values, color=colour, marker=".", linewidth=1.1, label=f"r with {RIVALS[signal]}")
    ax.plot(
        depth,
        chosen["r_partial_heldout"],
        color=VERMILION,
        marker="o",
        markerfacecolor="white",
        label="partial r with the TD error",
    )
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set(title="The chosen latents", xlabel="relative depth", xlim=(-0.02, 1.02), ylim=(-1, 1))
    ax.legend(fontsize=6.8, loc="lower right")


def clock_r(reader: Reader, facts: StudyFacts) -> str:
    """The strongest tie of the TD error to time, for a claim's cell."""
    found = with_rivals(read_signals(reader, facts))
    timed = {name: found[name] for name in ("step", "log_step") if name in found}
    name = max(timed, key=lambda one: abs(timed[one].value))
    return f"{RIVALS[name]}: r = {number(timed[name].value)}"
