"""Figs 2G and 2H: correlations in all blocks while the TD latents are clamped."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.published import curve
from jobs.report.drawing import Drawing
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.two_step.lesions import Lesion, read_lesions, td_lesion
from jobs.report.two_step.strongest import GROUPS, PAPER_BLOCKS
from jobs.report.verdicts import Interval, average
from tdlens.figures import BLUE, GREY, VERMILION, canvas, published

NAME = "fig2gh_clamp"
TITLE = "Figs 2G, 2H · Later blocks under a clamp"
OVERLAY = "Figs 2G and 2H of the paper, block-34 TD latent clamped by −10"

PANELS = (("G", "q_values", "Q-values"), ("H", "td_error", "TD error"))


@dataclass(frozen=True)
class BlockEffect:
    """Highest r in one block under an intervention (``value``) and without it (``baseline``)."""

    block: int
    value: float
    baseline: float
    difference: Interval
    n_rollouts: int


def read_blocks(reader: Reader, lesion: Lesion, group: str) -> list[BlockEffect]:
    """The blocks where every signal of the group has its numbers; their mean over these signals."""
    metrics = tuple(f"max_r_{signal}" for signal in GROUPS[group])
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


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Highest r per block with and without the clamp."""
    lesions = read_lesions(reader, facts)
    lesion = td_lesion(lesions, "clamp")
    controls = lesion.beside(lesions)
    theirs = curve("td_in_llms", "fig2_C_D_G_H_maxcorr_by_block")

    figure, axes = canvas(1, 2, height=4.0, sharey=True)
    changes, n = [], 0
    for ax, (panel, group, label) in zip(axes[0], PANELS, strict=True):
        rows = read_blocks(reader, lesion, group)
        if not rows:
            raise NotRecorded("correlations under the clamp")
        depth, n = [row.block / facts.n_blocks for row in rows], rows[0].n_rollouts
        published(ax, theirs["index"] / PAPER_BLOCKS, theirs[f"{panel}_no"], "no lesion (published)")
        clamped = "clamped (published)"
        published(ax, theirs["index"] / PAPER_BLOCKS, theirs[f"{panel}_TD"], clamped, linestyle=":")
        ax.axvline(lesion.block / facts.n_blocks, color=GREY, linewidth=0.9)
        for control in controls:
            others = read_blocks(reader, control, group)
            where = [other.block / facts.n_blocks for other in others]
            ax.plot(where, [other.value for other in others], color=control.colour, linewidth=1, label=control.label)
        ax.plot(depth, [row.baseline for row in rows], color=BLUE, marker="o", label="no lesion")
        ax.plot(depth, [row.value for row in rows], color=VERMILION, marker="o", label=f"TD latents, {lesion.done}")
        low = [row.baseline + row.difference.low for row in rows]
        high = [row.baseline + row.difference.high for row in rows]
        ax.fill_between(depth, low, high, color=VERMILION, alpha=0.16, linewidth=0)
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.set(title=f"2{panel} · {label}", xlabel="relative depth (line: the clamped block)", xlim=(-0.02, 1.02))
        change = average([row.difference for row in rows if row.block > lesion.block])
        if change is not None:
            changes.append(f"{label} {change.text()}")
    axes[0, 0].set_ylabel("highest Pearson r over latents")
    axes[0, 1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return Drawing(
        figure,
        sees=(
            "Mean change of the highest r in the blocks after the clamped one: " + "; ".join(changes) + ". "
            "Published, blocks from 35 on: Q-values −0.14, TD error −0.17."
            if changes
            else "The clamped block is the last one, so no later block could change."
        ),
        beside=(
            "The edit can't reach the blocks before the clamped one: what they lose comes with the other choices that "
            "the clamped model makes, and later blocks would lose that much as well. The band is the 95 % interval of "
            "the change over rollouts paired by seed. "
            + (
                "Thin lines: the same clamp on control latents."
                if controls
                else "No control for the clamp is recorded in this study, as there was none in the paper."
            )
        ),
        n=f"{n} rollouts of the {facts.variant} variant",
    )
