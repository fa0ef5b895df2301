"""Fig 3: the TD error and the best TD latent, run by run."""

from __future__ import annotations

import numpy as np
import pandas as pd

from jobs.published import curve
from jobs.report.drawing import Drawing
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from tdlens.figures import BLUE, GREY, VERMILION, canvas, number

NAME = "fig3_examples"
TITLE = "Fig 3 · Example runs"
OVERLAY = "r per run published for 18 runs of Llama 3 70B, 0.27 to 0.92"

RUNS = 6
PUBLISHED_R = {
    "standard": (0.48, 0.64, 0.61, 0.83, 0.76, 0.80),
    "reward_disruption": (0.27, 0.35, 0.56, 0.39, 0.32, 0.78),
    "transition_disruption": (0.92, 0.62, 0.71, 0.52, 0.62, 0.73),
}
"""Correlation of latent and TD error in each of the paper's example runs (read off Fig 3)."""

CHANGE = 30
"""Decision at which the paper's disrupted variants change."""


def normalised(values: np.ndarray) -> np.ndarray:
    """Minimum to 0, maximum to 1, as in the paper's figure; a constant becomes 0."""
    values = np.asarray(values, dtype=float)
    spread = np.nanmax(values) - np.nanmin(values)
    return (values - np.nanmin(values)) / spread if spread > 0 else np.zeros_like(values)


def read_runs(reader: Reader, facts: StudyFacts) -> pd.DataFrame:
    """TD error and latent at each decision of the first rollouts of every variant.

    Raises:
        NotRecorded: no latent's activations are recorded.
    """
    latents = reader.ask(
        """
        SELECT variant, rollout_index, rollout, step, block, latent, value AS activation FROM v_latent_activation
        WHERE study = :study AND sae = :sae AND model = :model AND policy = 'model' AND intervention = 'none'
          AND rollout_index < :runs AND signal = 'td_error'
        ORDER BY variant, rollout_index, step
        """,
        sae=facts.sae,
        model=facts.model,
        runs=RUNS,
    )
    errors = reader.ask(
        """
        SELECT rollout, step, value AS td_error FROM v_learning_signal
        WHERE study = :study AND model = :model AND policy = 'model' AND intervention = 'none'
          AND rollout_index < :runs AND signal = 'td_error'
        """,
        model=facts.model,
        runs=RUNS,
    )
    rows = latents.merge(errors, on=["rollout", "step"])
    if rows.empty:
        raise NotRecorded("activations of the latent that follows the TD error best")
    return rows


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Three variants × six runs, each series min-max normalised within its run."""
    rows = read_runs(reader, facts)
    variants = [name for name in facts.config["task"]["variants"] if name in set(rows["variant"])]
    figure, axes = canvas(len(variants), RUNS, height=1.45 * len(variants) + 0.9, sharex=True, sharey=True)
    correlations: list[float] = []
    change = 2 * int(facts.config["task"]["settings"].get("change_episode", CHANGE // 2))
    for line, variant in enumerate(variants):
        for run in range(RUNS):
            ax = axes[line, run]
            here = rows[(rows["variant"] == variant) & (rows["rollout_index"] == run)]
            ax.set(yticks=[], ylim=(-0.08, 1.08))
            ax.grid(False)
            if here.empty:
                ax.set_axis_off()
                continue
            r = _correlation(here["td_error"], here["activation"])
            correlations.append(r)
            ax.axvline(change, color=GREY, linewidth=0.8, linestyle="--")
            ax.plot(
                here["step"],
                normalised(here["td_error"].to_numpy()),
                color=BLUE,
                linewidth=1.1,
                label="TD error",
            )
            latent = normalised(here["activation"].to_numpy())
            ax.plot(here["step"], latent, color=VERMILION, linewidth=1.1, label="latent")
            ax.set_title(f"r = {number(r)}", fontsize=8.5, fontweight="normal", pad=3)
        axes[line, 0].set_ylabel(variant.replace("_", "\n"), fontsize=8.5)
    figure.supxlabel("decision (two an episode; dashed: the task changes, not in the standard variant)", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2)
    known = [r for r in correlations if np.isfinite(r)]
    theirs = [r for runs in PUBLISHED_R.values() for r in runs]
    return Drawing(
        figure,
        sees=(
            f"The latent chosen for the TD error (block {int(rows['block'].iloc[0])}, latent "
            f"{int(rows['latent'].iloc[0])} of {facts.sae!r}) in the first rollouts of every variant; both series run "
            "from their own minimum to their own maximum. Over these runs the median r is "
            f"{number(float(np.median(known))) if known else '–'} (published: {number(float(np.median(theirs)))}, from "
            f"{min(theirs)} to {max(theirs)})."
        ),
        beside=(
            "These are the first rollouts, not chosen ones. Both series tend to fall over a run, which alone gives a "
            "correlation: the partial r in Figs 2C, 2D takes that out."
        ),
        n=f"{len(correlations)} rollouts of {rows.groupby(['variant', 'rollout_index']).size().max()} decisions",
    )


def published_runs() -> pd.DataFrame:
    """The paper's decoded runs, one row for each decision: variant, run, step, td_error, latent, reward."""
    runs = curve("td_in_llms", "fig3_runs")
    parts = []
    for pick, name in enumerate(("first", "second")):
        parts.append(
            pd.DataFrame(
                {
                    "variant": runs["variant"],
                    "run": runs["run"],
                    "step": 2 * runs["episode"] + pick,
                    "td_error": runs[f"td_at_{name}_pick"],
                    "latent": runs[f"latent_at_{name}_pick"],
                    "reward": runs["reward"] * pick,
                }
            )
        )
    return pd.concat(parts).sort_values(["variant", "run", "step"], ignore_index=True)


def _correlation(first: pd.Series[float], second: pd.Series[float]) -> float:
    return float(first.corr(second)) if first.std() > 0 and second.std() > 0 else float("nan")
