"""What a search costs: the best head so far over forward passes, what is computed beforehand included."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing, Table
from jobs.report.head_ablation.fig_discovery import SHARES, read_usual
from jobs.report.head_ablation.matched import share
from jobs.report.head_ablation.panels import draw_curves, heading, legend_below, plain_log, task_panels
from jobs.report.head_ablation.searches import LAYERS, LIST, POLICY, Found, Way, budget_of, count_heads, said
from jobs.report.reader import Reader, StudyFacts
from tdlens.figures import GREY, number

NAME = "budget"
TITLE = "The same over forward passes"
OVERLAY = (
    "GPT-2 small: K = 1 took 487,560 forward passes, K = 5 1,122,448, very probably with the evaluations (500 updates "
    "of 8 episodes of 102 passes are 408,000, 780 episodes more the rest), which ours leave out; no baseline but random"
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A panel a task: share of the oracle over passes."""
    tasks = read_usual(reader, facts)
    figure, axes = task_panels(len(tasks), sharey=True)
    costs, sweep = read_costs(reader, facts), 2 + 2 * count_heads(reader, facts)
    for ax, (task, ways) in zip(axes, tasks.items(), strict=True):
        last = max(float(one.passes.max()) for one in ways.values())
        budgets = np.unique(np.geomspace(3, max(last, sweep) * 1.05, 160).round())
        for way, one in ways.items():
            curve = one.within(budgets).mean(1) / one.oracle.mean()
            draw_curves(ax, way, budgets, np.where(budgets >= one.at_once(), curve, np.nan), way.label, steps=True)
        _sweep(ax, sweep)
        ax.axhline(1, color=GREY, linewidth=0.9)
        ax.set(title=heading(facts, task), xscale="log", ylim=SHARES, xlim=(3, budgets[-1]))
        plain_log(ax, budgets[-1])
        ax.set(xlabel="forward passes in an episode (log scale)" if ax in axes[-2:] else "")
        ax.set(ylabel="share of the oracle" if ax in axes[::2] else "")
    legend_below(figure, axes)
    one = next(iter(next(iter(tasks.values())).values()))
    return Drawing(
        figure,
        sees=_sees(tasks, costs, sweep),
        beside=(
            "A pass is one of the episode's prompts or of its control text; a backward pass counts as two. Means over "
            "passes count 0 until the first head has been tried, so that even the oracle stays below 1. Training, of "
            "policies and of lists, is not in the curves: it is paid once for "
            "all episodes, and pays only over as many as the table says, against trying every head in the same ones. "
            "The order of mean ablation takes a sweep over all heads, as does the oracle itself: at equal passes it "
            "has not yet begun."
        ),
        n=f"{len(one.episodes)} episodes of each task, the same for all; policies of {len(one.seeds)} seeds",
        table=_table(facts, tasks, costs, sweep),
    )


def read_costs(reader: Reader, facts: StudyFacts) -> dict[int, float]:
    """Forward passes that the training of a policy costs with the model in the loop, mean over seeds, by K."""
    rows = reader.rows(
        """
        SELECT best_of, AVG(forward_passes) AS passes FROM v_circuit_search
        WHERE study = :study AND model = :model AND method = 'ppo' GROUP BY best_of ORDER BY best_of
        """,
        model=facts.model,
    )
    return {int(row["best_of"] or 0): float(row["passes"]) for row in rows}


def _sweep(ax: Axes, passes: int) -> None:
    text: Any = {"textcoords": "offset points", "fontsize": 8, "color": GREY, "rotation": 90, "ha": "right"}
    text["bbox"] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
    ax.axvline(passes, color=GREY, linewidth=0.9, linestyle=":")
    ax.annotate(
        "all heads, once each", (passes, 0.03), (-3, 0), xycoords=("data", "axes fraction"), va="bottom", **text
    )


def _sees(tasks: dict[str, dict[Way, Found]], costs: dict[int, float], sweep: int) -> str:
    cost = " and ".join(f"{number(passes, 0)} with K = {k}" for k, passes in costs.items())
    whole = f"Trying every head of an episode takes {sweep:,} forward passes and finds the best for certain. "
    ways = next(iter(tasks.values()))
    budget = budget_of(ways)
    trained = f"The training of a policy costs {cost}, before its first episode. " if costs else ""
    return f"{whole}A search of one head a step takes {number(budget, 0)}. {trained}".strip()


def _table(facts: StudyFacts, tasks: dict[str, dict[Way, Found]], costs: dict[int, float], sweep: int) -> Table:
    rows = []
    for task, ways in tasks.items():
        budget = budget_of(ways)
        start = min(one.at_once() for one in ways.values())
        for way, one in ways.items():
            before = one.at_once() - start
            found = share(one, partial(Found.per_pass, budget=budget)).text(3) if budget else "–"
            needed = _needed(one)
            training = costs.get(way.trained) if way.method == POLICY else _listed(way, facts, sweep)
            pays = training / (sweep - needed) if training and np.isfinite(needed) and needed < sweep else None
            rows.append(
                (
                    said(task),
                    way.label,
                    number(before, 0),
                    found,
                    number(needed, 0),
                    number(training, 0),
                    number(pays, 0),
                )
            )
    header = (
        *("task", "search", "passes beforehand", "share over the passes [95 %]"),
        *("passes to 95 % of the oracle", "passes to train", "episodes until it pays"),
    )
    return Table(header, tuple(rows), words=(0, 1))


def _listed(way: Way, facts: StudyFacts, sweep: int) -> float | None:
    """Forward passes of the sweeps over training episodes that a baseline takes its order from."""
    search = facts.config["search"]
    if way.method not in (LIST, LAYERS) or not search.get("pool"):
        return None
    return float(sweep * search["pool"] * (1 if way.code in search["tasks"] else len(search["tasks"])))


def _needed(one: Found) -> float:
    """Forward passes after which the mean over episodes and seeds reaches 95 % of the oracle's; NaN for never."""
    passes = np.unique(one.rises[np.isfinite(one.rises[..., 0]), 0])
    reached = one.within(passes).mean((0, 1)) >= 0.95 * one.oracle.mean()
    return float(passes[reached.argmax()]) if reached.any() else float("nan")
