"""Fig 5B: how often the most probable node is the one that comes."""

from __future__ import annotations

from jobs.published import curve
from jobs.report.drawing import Drawing
from jobs.report.graph_walk.accuracy import CEILING, CHANCE, EARLY, overall, read_accuracy
from jobs.report.prediction import BINS, half_width, in_parts
from jobs.report.reader import Reader, StudyFacts
from tdlens.figures import BLUE, band, canvas, level, number, published

NAME = "fig5b_accuracy"
TITLE = "Fig 5B · Foretelling the next node"
OVERLAY = "Fig 5B of the paper, Llama 3 70B, 100 walks, averaged over the same parts of a walk"


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Mean over walks in parts of a walk, beside the published curve."""
    table = read_accuracy(reader, facts)
    width = max(1, table.shape[1] // BINS)
    parts = table.T.groupby(table.columns // width * width).mean().T
    middle = parts.columns.to_numpy() + (width - 1) / 2
    figure, axes = canvas(height=3.9)
    ax = axes[0, 0]
    theirs = curve("td_in_llms", "fig5_B_accuracy")
    averaged = in_parts(theirs["step"], theirs["accuracy"], width)
    published(ax, averaged.index + (width - 1) / 2, averaged, "Llama 3 70B (published)")
    ax.plot(middle, parts.mean(), color=BLUE, marker="o", label=f"{facts.model_label} (ours)")
    band(ax, middle, parts.mean(), half_width(parts), BLUE)
    level(ax, CHANCE, "chance: one of 15 nodes")
    level(ax, CEILING, "ceiling: one of 4 neighbours")
    ax.set(
        title=f"Next node foretold, mean over {width} decisions and walks",
        xlabel="decision",
        ylabel="share of decisions",
        ylim=(0, 0.32),
    )
    figure.legend(loc="outside lower center", ncols=2)
    whole, later = overall(table), overall(table, EARLY)
    return Drawing(
        figure,
        sees=(
            f"{facts.model_label} foretells {whole.text(3) if whole else '–'} of the nodes [95 % interval over walks], "
            f"and {later.text(3) if later else '–'} after the first quarter; Llama 3 70B "
            f"{number(theirs['accuracy'].mean(), 3)} and {number(theirs['accuracy'].iloc[100:].mean(), 3)}."
        ),
        beside=(
            "The walk is random, so nobody can do better than the ceiling in the long run. Accuracy looks at the most "
            "probable of the walk's fifteen words only, where the paper's looks at all tokens; it can't tell a model "
            "that knows all four neighbours from one that knows one of them for sure."
        ),
        n=f"{len(table)} walks of {table.shape[1]} decisions",
    )
