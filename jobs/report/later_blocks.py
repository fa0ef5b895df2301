"""Correlations in all blocks while latents of one or several are changed."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jobs.report.lesions import Lesion
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.strongest import PAPER_BLOCKS, Groups
from jobs.report.verdicts import Interval, average
from tdlens.figures import BLUE, GREY, VERMILION, canvas, published


@dataclass(frozen=True)
class BlockEffect:
    """Highest r in one block under an intervention (``value``) and without it (``baseline``)."""

    block: int
    value: float
    baseline: float
    difference: Interval
    n_rollouts: int


@dataclass(frozen=True)
class Panel:
    """One group of signals and its published curves."""

    panel: str
    group: str
    label: str
    intact: str
    lesioned: str


@dataclass(frozen=True)
class Drawn:
    """The figure, the mean change after the edit by panel, and how much data."""

    figure: Figure
    changes: tuple[str, ...]
    n_rollouts: int


def read_blocks(reader: Reader, lesion: Lesion, signals: tuple[str, ...]) -> list[BlockEffect]:
    """The blocks where every signal has its numbers; their mean over these signals."""
    metrics = tuple(f"max_r_{signal}" for signal in signals)
    rows = reader.rows(
        """
        SELECT effect_block AS block, avg(value) AS value, avg(baseline) AS baseline, avg(difference) AS difference,
               avg(ci_low) AS ci_low, avg(ci_high) AS ci_high, min(n_rollouts) AS n_rollouts
        FROM v_intervention_effect
        WHERE study = :study AND intervention = :intervention AND metric IN :metrics AND effect_block IS NOT NULL
        GROUP BY effect_block HAVING count(difference) = :columns ORDER BY effect_block
        """,
        intervention=lesion.name,
        metrics=metrics,
        columns=len(metrics),
    )
    return [
        BlockEffect(
            row["block"],
            row["value"],
            row["baseline"],
            Interval(row["difference"], row["ci_low"], row["ci_high"]),
            row["n_rollouts"],
        )
        for row in rows
        if None not in row.values()
    ]


def changes(reader: Reader, lesion: Lesion, signals: tuple[str, ...]) -> tuple[Interval | None, Interval | None]:
    """Mean change of the highest r in unedited blocks: those after the first edited one, and those before it."""
    rows = read_blocks(reader, lesion, signals)
    return (
        average([row.difference for row in rows if lesion.before(row.block)]),
        average([row.difference for row in rows if row.block < lesion.block]),
    )


def draw_later(
    reader: Reader,
    facts: StudyFacts,
    lesion: Lesion,
    controls: list[Lesion],
    panels: tuple[Panel, ...],
    theirs: pd.DataFrame,
    groups: Groups,
    done: str,
) -> Drawn:
    """Highest r per block with and without the edit, beside the published curves.

    Args:
        theirs: published curves by ``index``.
        done: what was done to the latents, for the legend of the published curve.

    Raises:
        NotRecorded: no correlations under the edit.
    """
    figure, axes = canvas(1, len(panels), height=4.0, sharey=True)
    found, n = [], 0
    for ax, panel in zip(axes[0], panels, strict=True):
        rows = read_blocks(reader, lesion, groups[panel.group])
        if not rows:
            raise NotRecorded(f"correlations in all blocks under {lesion.name}")
        n = rows[0].n_rollouts
        published(ax, theirs["index"] / PAPER_BLOCKS, theirs[panel.intact], "no lesion (published)")
        published(ax, theirs["index"] / PAPER_BLOCKS, theirs[panel.lesioned], f"{done} (published)", linestyle=":")
        for block in lesion.blocks:
            ax.axvline(block / facts.n_blocks, color=GREY, linewidth=0.9)
        for control in controls:
            others = read_blocks(reader, control, groups[panel.group])
            where = [other.block / facts.n_blocks for other in others]
            ax.plot(where, [other.value for other in others], color=control.colour, linewidth=1, label=control.label)
        _draw_own(ax, rows, facts, f"{lesion.label}, {lesion.done}")
        ax.axhline(0, color=GREY, linewidth=0.8)
        several = "s" if len(lesion.blocks) > 1 else ""
        ax.set(title=f"{panel.panel} · {panel.label}", xlim=(-0.02, 1.02))
        ax.set_xlabel(f"relative depth (line{several}: the edited block{several})")
        change = average([row.difference for row in rows if lesion.before(row.block)])
        if change is not None:
            found.append(f"{panel.label} {change.text()}")
    axes[0, 0].set_ylabel("highest Pearson r over latents")
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return Drawn(figure, tuple(found), n)


def _draw_own(ax: Axes, rows: list[BlockEffect], facts: StudyFacts, label: str) -> None:
    depth = [row.block / facts.n_blocks for row in rows]
    ax.plot(depth, [row.baseline for row in rows], color=BLUE, marker="o", label="no lesion")
    ax.plot(depth, [row.value for row in rows], color=VERMILION, marker="o", label=label)
    low = [row.baseline + row.difference.low for row in rows]
    high = [row.baseline + row.difference.high for row in rows]
    ax.fill_between(depth, low, high, color=VERMILION, alpha=0.16, linewidth=0)
