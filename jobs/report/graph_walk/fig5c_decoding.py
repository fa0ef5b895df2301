"""Fig 5C: can bottleneck nodes be told from others by how a block represents them?"""

from __future__ import annotations

from envs.graph_walk import BOTTLENECKS, N_NODES
from jobs.published import curve
from jobs.report.block_measures import (
    STREAM,
    UNTRAINED,
    draw_null,
    highest_of,
    line,
    null_of_highest,
    of,
    read_measures,
)
from jobs.report.drawing import Drawing
from jobs.report.reader import Reader, StudyFacts
from jobs.report.strongest import PAPER_BLOCKS
from tdlens.figures import BLUE, PURPLE, canvas, level, number, published

NAME = "fig5c_decoding"
TITLE = "Fig 5C · Decoding bottleneck nodes"
OVERLAY = "Fig 5C of the paper, Llama 3 70B, 20 walks, by depth relative to 80 blocks"

MEASURE, SIGNAL = "decoding", "bottleneck"
CHANCE = 0.5


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Accuracy by depth beside an untrained model and permuted nodes."""
    rows = read_measures(reader, facts, (MEASURE,), (SIGNAL,))
    own = of(rows, MEASURE, SIGNAL, STREAM)
    theirs = curve("td_in_llms", "fig5_C_D_E_by_index81")
    figure, axes = canvas(height=3.8)
    ax = axes[0, 0]
    draw_null(ax, own, facts)
    published(ax, theirs["index"] / PAPER_BLOCKS, theirs["F5C_dec"], "Llama 3 70B (published)")
    line(ax, of(rows, MEASURE, SIGNAL, UNTRAINED), facts, "untrained model", PURPLE, linewidth=1.1)
    line(ax, own, facts, f"{facts.model_label} (ours)", BLUE)
    level(ax, CHANCE, "chance")
    low = min(0.4, float(rows["ci_low"].min()) - 0.02)
    ax.set(
        title="Bottleneck nodes decoded from walks that the decoder has not seen",
        xlabel="relative depth (block / number of blocks)",
        ylabel="balanced accuracy",
        xlim=(-0.02, 1.02),
        ylim=(low, max(0.75, float(rows["ci_high"].max()) + 0.05)),
    )
    figure.legend(loc="outside lower center", ncols=4)
    best, null = highest_of(rows, MEASURE, SIGNAL, STREAM), null_of_highest(rows, MEASURE, SIGNAL, STREAM)
    return Drawing(
        figure,
        sees=(
            f"The highest of {len(own)} blocks is {best.text() if best else '–'} [95 % interval over walks], against a "
            f"threshold of {number(null.threshold) if null else '–'} for it with nodes permuted, family-wise over "
            "all blocks. Published: 0.66 at block 35 of 80."
        ),
        beside=(
            f"{len(BOTTLENECKS)} of {N_NODES} nodes are bottlenecks; classes are balanced, and names are drawn anew "
            "for every walk, so that no word can give a node away. Bottlenecks differ from other nodes in how often "
            "the walk turns there as well; an untrained model shows what the bare mixing of context gives."
        ),
        n=f"{int(own['n_rollouts'].max()) if len(own) else 0} walks, each left out once",
    )
