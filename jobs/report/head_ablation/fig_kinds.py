"""Whether another kind of ablation would find other heads."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing, Table
from jobs.report.head_ablation.heads import own_ablation, pearson, ranking, read_scores, spearman, tasks_in
from jobs.report.head_ablation.panels import task_panels
from jobs.report.head_ablation.searches import said
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from tdlens.figures import CYCLE, GREY, number

NAME = "kinds"
TITLE = "Other kinds of ablation"
OVERLAY = "none: the paper has zero ablation alone"

KINDS = {
    "value_bias": "its value bias (TransformerLens's zero)",
    "zero": "0",
    "mean": "its mean on corrupted prompts",
    "resample": "its value on a corrupted prompt",
}


def read_kinds(reader: Reader, facts: StudyFacts) -> dict[str, pd.DataFrame]:
    """Scores by the kinds of ablation that were compared, without the study's own.

    Raises:
        NotRecorded: there is none other.
    """
    own, several = own_ablation(facts), {}
    for kind in KINDS:
        if kind != own:
            try:
                several[kind] = read_scores(reader, facts, kind)
            except NotRecorded:
                continue
    if not several:
        raise NotRecorded("another kind of ablation (stage ablate)")
    return several


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A panel a kind: its score over that of the study's own ablation, a dot a head and task."""
    own, several = read_scores(reader, facts), read_kinds(reader, facts)
    tasks = tasks_in(own, facts)
    figure, axes = task_panels(len(several), row=3.5, columns=3)
    for ax, (kind, scores) in zip(axes, several.items(), strict=True):
        _panel(ax, own, scores, tasks)
        ax.set(title=kind.replace("_", " "), xlabel=f"score, {own_ablation(facts).replace('_', ' ')}")
    axes[0].set(ylabel="score by the other kind, nats")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(tasks), markerscale=1.4)
    replaced = "; ".join(f"{kind.replace('_', ' ')}: {KINDS[kind]}" for kind in [own_ablation(facts), *several])
    counts = {own_ablation(facts): own, **several}
    episodes = ", ".join(f"{kind} {int(scores['episodes'].max())}" for kind, scores in counts.items())
    return Drawing(
        figure,
        sees=_sees(own, several, tasks),
        beside=(
            f"What a head's output is replaced by: {replaced}. Heads far from the line matter by one kind and not by "
            "the other. Zero takes a head's constant part away as well, mean leaves it; resampling keeps the output "
            "in its usual range. Means are over episodes that a kind was computed for, so heads near 0 scatter by that."
        ),
        n=f"episodes of each task: {episodes.replace('_', ' ')}",
        table=_table(own, several, tasks, own_ablation(facts)),
    )


def _panel(ax: Axes, own: pd.DataFrame, other: pd.DataFrame, tasks: list[str]) -> None:
    for task, colour in zip(tasks, CYCLE, strict=False):
        both = joined(own, other, task)
        ax.plot(both["score"], both["score_other"], "o", color=colour, markersize=3.2, alpha=0.75, label=said(task))
    low, high = min(ax.get_xlim()[0], ax.get_ylim()[0]), max(ax.get_xlim()[1], ax.get_ylim()[1])
    ax.plot([low, high], [low, high], color=GREY, linewidth=0.8, zorder=1)


def joined(own: pd.DataFrame, other: pd.DataFrame, task: str) -> pd.DataFrame:
    """Heads of a task with both scores."""
    pair = [table[table["task"] == task].set_index("name")["score"] for table in (own, other)]
    return pd.concat([pair[0], pair[1].rename("score_other")], axis=1).dropna()


def _sees(own: pd.DataFrame, several: dict[str, pd.DataFrame], tasks: list[str]) -> str:
    parts = []
    for kind, scores in several.items():
        pairs = [joined(own, scores, task) for task in tasks]
        told = [
            f"{said(task)} {number(spearman(both['score'], both['score_other']))}"
            for task, both in zip(tasks, pairs, strict=True)
            if len(both)
        ]
        parts.append(f"{kind}: {', '.join(told)}")
    return f"Rank correlation over heads with the study's own ablation. {'; '.join(parts)}."


def _table(own: pd.DataFrame, several: dict[str, pd.DataFrame], tasks: list[str], name: str) -> Table:
    rows = []
    for task in tasks:
        mine = own[own["task"] == task]
        rows.append((said(task), name.replace("_", " "), "–", "–", ", ".join(ranking(mine)[:5])))
        for kind, scores in several.items():
            both, theirs = joined(own, scores, task), scores[scores["task"] == task]
            if len(both):
                r, rho = (measure(both["score"], both["score_other"]) for measure in (pearson, spearman))
                rows.append((said(task), kind, number(r), number(rho), ", ".join(ranking(theirs)[:5])))
    return Table(("task", "ablation", "r", "rank correlation", "first five heads"), tuple(rows), words=(0, 1, 4))
