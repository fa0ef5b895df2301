"""Fig 3 again: the paper's own runs, replayed by our learner."""

from __future__ import annotations

import numpy as np
import pandas as pd

from jobs.report.drawing import Drawing
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.two_step.fig3_examples import CHANGE, PUBLISHED_R, normalised, published_runs
from tdlens.figures import BLUE, GREY, PUBLISHED, canvas, number

NAME = "fig3_published_runs"
TITLE = "Fig 3 · The published runs, replayed by our learner"
OVERLAY = "TD curves and latent of 6 of the 18 runs of Fig 3, decoded from its vector graphics"

TOLERANCE = 5e-5
"""How exactly the figure's curves could be decoded, after min-max normalisation."""


def replayed_runs(reader: Reader) -> pd.DataFrame:
    """The paper's runs beside what our learner computes on the same choices: variant, run, step, td_error, ours.

    A replayed rollout belongs to the published run of its variant that earned the same rewards.

    Raises:
        NotRecorded: the published runs were not replayed.
    """
    rewards = reader.ask(
        """
        SELECT variant, rollout, step, reward FROM v_step
        WHERE study = :study AND policy = 'published fig 3' ORDER BY rollout, step
        """
    )
    errors = reader.ask(
        """
        SELECT rollout, step, value AS ours FROM v_learning_signal
        WHERE study = :study AND policy = 'published fig 3' AND signal = 'td_error' ORDER BY rollout, step
        """
    )
    rows = rewards.merge(errors, on=["rollout", "step"])
    ours = {(variant, tuple(run["reward"])): run for (variant, _), run in rows.groupby(["variant", "rollout"])}
    matched = []
    for (variant, _), run in published_runs().groupby(["variant", "run"]):
        same = ours.get((variant, tuple(run["reward"])))
        if same is not None:
            matched.append(run.assign(ours=normalised(same["ours"].to_numpy())))
    if not matched:
        raise NotRecorded("a replay of the paper's runs")
    return pd.concat(matched, ignore_index=True)


def largest_error(runs: pd.DataFrame) -> float:
    """Of any point of any run, after min-max normalisation."""
    return float((runs["td_error"] - runs["ours"]).abs().max())


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """One panel a run: our TD error under the published one, the published latent pale."""
    runs = replayed_runs(reader)
    variants = list(PUBLISHED_R)
    keys = sorted(
        {(int(run), str(variant)) for run, variant in zip(runs["run"], runs["variant"], strict=True)},
        key=lambda key: (key[0], variants.index(key[1])),
    )
    columns = 3
    lines = -(-len(keys) // columns)
    figure, axes = canvas(lines, columns, height=1.75 * lines + 0.9, sharex=True, sharey=True)
    for ax in axes.flat[len(keys) :]:
        ax.set_axis_off()
    for ax, (run, variant) in zip(axes.flat, keys, strict=False):
        here = runs[(runs["variant"] == variant) & (runs["run"] == run)]
        ax.axvline(CHANGE, color=GREY, linewidth=0.8, linestyle="--")
        ax.plot(here["step"], here["latent"], color="#C9CED6", linewidth=1.2, label="block-34 latent (published)")
        ax.plot(here["step"], here["ours"], color=BLUE, linewidth=2.6, alpha=0.75, label="TD error, our learner")
        ax.plot(
            here["step"],
            here["td_error"],
            color=PUBLISHED,
            linewidth=1.1,
            linestyle="--",
            label="TD error (published)",
        )
        error = float((here["td_error"] - here["ours"]).abs().max())
        title = f"{variant.replace('_', ' ')}, run {run} (to within {error:.0e})"
        ax.set_title(title, fontsize=8.5, fontweight="normal", pad=4)
        ax.set(yticks=[0, 1])
        ax.grid(False)
    figure.supxlabel("decision", fontsize=9)
    figure.supylabel("min–max normalised", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3)
    followed = [float(np.corrcoef(run["td_error"], run["latent"])[0, 1]) for _, run in runs.groupby(["variant", "run"])]
    return Drawing(
        figure,
        sees=(
            f"Our learner on the published choices draws the published TD curves: over {len(keys)} runs no point "
            f"differs by more than {largest_error(runs):.1e} of the curve's height."
        ),
        beside=(
            "This checks the regressor, not the model: the choices were read off the same figure, so agreement says "
            "that the algorithm (last four transitions, last write wins, lag of one decision) is the paper's. The "
            f"published latent follows it with r = {number(min(followed))} to {number(max(followed))} "
            "in these runs."
        ),
        n=f"{len(keys)} of the paper's 18 example runs",
    )
