"""How policies improve in training, with one head tried at each step and with several."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing, Table
from jobs.report.head_ablation import authors
from jobs.report.head_ablation.panels import heading, legend_below, task_panels
from jobs.report.head_ablation.searches import POLICY, Way, kinds, said, trained_tasks
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import percent
from tdlens.figures import GREY, level, number, published

NAME = "learning"
TITLE = "Learning curves"
OVERLAY = "GPT-2 small, one seed, 8 episodes of each task (the paper's training logs), as shares of its own end"

REACHED = 0.95
"""Of the oracle: what a trained policy is asked for."""
WINDOW = 3
"""Evaluations in a row whose mean has to stay there: one alone is of few episodes, and of many the best is luck."""
KEPT = f"after which the mean over {WINDOW} evaluations in a row stays so high"


def read_progress(reader: Reader, facts: StudyFacts) -> pd.DataFrame:
    """Evaluations during training: task, best_of, seed, transitions, share (of the oracle in the same episodes).

    Raises:
        NotRecorded: no policy was trained.
    """
    rows = reader.ask(
        """
        SELECT task, best_of, seed, transitions, best_score, n_episodes FROM v_search_progress
        WHERE study = :study AND model = :model AND method = 'ppo' ORDER BY task, best_of, seed, transitions
        """,
        model=facts.model,
    )
    if rows.empty:
        raise NotRecorded("evaluations during the training of policies (stage train_policy)")
    oracle = reader.ask(
        """
        SELECT DISTINCT task, episode, oracle FROM v_search_episode
        WHERE study = :study AND model = :model ORDER BY task, episode
        """,
        model=facts.model,
    )
    shares = [
        row["best_score"]
        / oracle[(oracle["task"] == row["task"]) & (oracle["episode"] < row["n_episodes"])]["oracle"].mean()
        for row in rows.to_dict("records")
    ]
    rows = rows.assign(share=np.array(shares, dtype=float))
    return rows.dropna(subset=["share"])


def transitions_to(progress: pd.DataFrame, task: str, best_of: int, bound: float = REACHED) -> dict[int, float]:
    """Transitions from which on each seed's policy finds so much of the oracle, as `KEPT` says; infinite if never."""
    mine = progress[(progress["task"] == task) & (progress["best_of"] == best_of)]
    return {int(str(seed)): _kept(one, bound) for seed, one in mine.groupby("seed", sort=True)}


def _kept(rows: pd.DataFrame, bound: float) -> float:
    rows = rows.sort_values("transitions")
    shares = rows["share"].to_numpy(float)
    stays = np.array([shares[i : i + WINDOW].mean() >= bound for i in range(len(shares))])
    from_then_on = np.logical_and.accumulate(stays[::-1])[::-1] & (shares >= bound)
    return float(rows["transitions"].iloc[int(from_then_on.argmax())]) if from_then_on.any() else float("inf")


def reached_untrained(progress: pd.DataFrame, task: str, best_of: int, bound: float = REACHED) -> bool:
    """Whether a policy finds so much before it has learned anything."""
    mine = progress[(progress["task"] == task) & (progress["best_of"] == best_of)]
    return bool((mine[mine["transitions"] == 0]["share"] >= bound).any())


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A panel a task that is trained on; transitions along a logarithmic axis that has 0."""
    progress = read_progress(reader, facts)
    tasks = [task for task in trained_tasks(facts) if task in set(progress["task"])]
    figure, axes = task_panels(len(tasks), row=3.4, sharey=True)
    lowest = 1.0
    for ax, task in zip(axes, tasks, strict=True):
        for k, line in authors.learning(task).items():
            if k not in kinds(facts):
                continue
            published(
                ax,
                line.index,
                line.to_numpy(),
                f"K = {k} (published)",
                linestyle="--" if k == 1 else ":",
                marker="s",
                markersize=3,
            )
            lowest = min(lowest, float(line.min()))
        mine = progress[progress["task"] == task]
        for best_of in sorted(mine["best_of"].unique().tolist()):
            _curves(ax, Way(POLICY, best_of, task, 1), mine[mine["best_of"] == best_of])
        lowest = min(lowest, float(mine["share"].min()))
        level(ax, 1, "oracle", linestyle="-", color=GREY)
        first = max(float(mine.loc[mine["transitions"] > 0, "transitions"].min()), 1.0)
        ax.set_xscale("symlog", linthresh=min(first, 400), linscale=0.8)
        ax.set(title=heading(facts, task), xlabel="heads ablated in training (log scale)")
        ax.set_xlim(0, float(mine["transitions"].max()) * 1.1)
    axes[0].set(ylabel="share of the oracle", ylim=(max(lowest - 0.06, -0.3), 1.06))
    legend_below(figure, axes)
    seeds = progress["seed"].nunique()
    return Drawing(
        figure,
        sees=_sees(progress, tasks),
        beside=(
            "Policies are evaluated as they were trained: with K heads tried at each step and the best executed. With "
            "a larger K they are therefore ahead before they have learned anything (left end), at K times the forward "
            "passes a step: where K times the steps is as many heads as there are, nothing needs to be learned, in the "
            "paper (5 × 50 of 144 heads) no less than here. What the training costs in all stands in the table of the "
            "figure above. Thin lines are seeds; the oracle is that of the same episodes. So much "
            f"is reached with the first evaluation {KEPT}."
        ),
        n=f"{int(progress['n_episodes'].min())} episodes of each task at each point, {seeds} seeds",
        table=_table(progress, tasks),
    )


def _curves(ax: Axes, way: Way, rows: pd.DataFrame) -> None:
    table = rows.pivot(index="transitions", columns="seed", values="share")
    for seed in table:
        ax.plot(table.index, table[seed], color=way.colour, linewidth=0.7, alpha=0.5)
    ax.plot(
        table.index,
        table.mean(axis=1),
        color=way.colour,
        linewidth=2.8 if way.trained == 1 else 1.5,
        label=f"K = {way.trained}",
    )


def _sees(progress: pd.DataFrame, tasks: list[str]) -> str:
    parts = []
    for task in tasks:
        told = []
        for best_of in sorted(progress["best_of"].unique().tolist()):
            mine = progress[(progress["task"] == task) & (progress["best_of"] == best_of)]
            ends = mine[mine["transitions"] == mine["transitions"].max()]["share"].mean()
            needed = list(transitions_to(progress, task, best_of).values())
            told.append(
                f"K = {best_of} ends at {number(100 * ends, 1)} % and keeps {percent(REACHED)} from {_span(needed)} on"
            )
        parts.append(f"{said(task)}: {', '.join(told)}")
    return f"Best score of an episode, as a share of the oracle. {'; '.join(parts)} ablations in training."


def _span(needed: list[float]) -> str:
    known = sorted(value for value in needed if np.isfinite(value))
    if not known:
        return "no time"
    ends = list(dict.fromkeys([number(known[0], 0), number(known[-1], 0)]))
    never = len(needed) - len(known)
    return " to ".join(ends) + (f" ({never} of {len(needed)} seeds never)" if never else "")


def _table(progress: pd.DataFrame, tasks: list[str]) -> Table:
    rows = []
    for task in tasks:
        for best_of in sorted(progress["best_of"].unique().tolist()):
            mine = progress[(progress["task"] == task) & (progress["best_of"] == best_of)]
            for seed, needed in transitions_to(progress, task, best_of).items():
                shares = mine[mine["seed"] == seed]["share"].tolist()
                reached = number(needed, 0) if np.isfinite(needed) else "never"
                rows.append(
                    (said(task), f"K = {best_of}", str(seed), number(shares[0], 3), number(shares[-1], 3), reached)
                )
    header = (
        "task",
        "trained with",
        "seed",
        "at its start",
        "at its end",
        f"ablations until {percent(REACHED)} is kept",
    )
    return Table(header, tuple(rows), words=(0, 1))
