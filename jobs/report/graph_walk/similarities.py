"""Communities and neighbours in the similarity of nodes: what the maps show, measured over all walks."""

from __future__ import annotations

from jobs.report.block_measures import STREAM, UNTRAINED, draw_null, highest_of, line, of, read_measures
from jobs.report.drawing import Drawing
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from tdlens.figures import BLUE, GREY, ORANGE, PURPLE, canvas

NAME = "similarities"
TITLE = "Similarity of nodes: communities, successors, links"
OVERLAY = "none: the paper shows maps of one walk"

SIGNALS = ("community", "sr", "transition")
LINES = (
    ("sr", "successor representation", BLUE),
    ("transition", "transition matrix", ORANGE),
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Left: within minus between communities. Right: whose similarities the block's are."""
    rows = read_measures(reader, facts, ("contrast", "similarity"), SIGNALS)
    own = of(rows, "contrast", "community", STREAM)
    if own.empty:
        raise NotRecorded("similarities of nodes")
    figure, axes = canvas(1, 2, height=3.8)
    left, right = axes[0]
    draw_null(left, own, facts)
    line(left, of(rows, "contrast", "community", UNTRAINED), facts, "untrained model", PURPLE, linewidth=1.1)
    line(left, own, facts, facts.model_label, BLUE)
    left.set(title="Cosine within minus between communities", ylabel="difference in cosine similarity")
    draw_null(right, of(rows, "similarity", "sr", STREAM), facts)
    untrained = of(rows, "similarity", "sr", UNTRAINED)
    line(right, untrained, facts, "SR, untrained model", PURPLE, linewidth=1.1, marker=".")
    for signal, label, colour in LINES:
        line(right, of(rows, "similarity", signal, STREAM), facts, label, colour)
    right.set(title="Correlation with the similarities of …", ylabel="Spearman's ρ over pairs of nodes")
    for ax in (left, right):
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.set(xlabel="relative depth (block / number of blocks)", xlim=(-0.02, 1.02))
        ax.legend(fontsize=7.5)
    contrast = highest_of(rows, "contrast", "community", STREAM)
    words = [
        f"{label} {best.text()}"
        for signal, label, _ in LINES
        if (best := highest_of(rows, "similarity", signal, STREAM)) is not None
    ]
    return Drawing(
        figure,
        sees=(
            f"Nodes of one community are more alike than others by {contrast.text() if contrast else '–'} in cosine "
            f"at most. The blocks' similarities follow: {', '.join(words)} [95 % over walks]."
        ),
        beside=(
            "A node's representation is its mean over visits, less the walk's mean. The transition matrix, which looks "
            "one step ahead, has communities too, as has any mixing of neighbours; only where the successor "
            "representation is followed more closely than it is there evidence for more. The grey area comes from "
            "permuted nodes."
        ),
        n=f"{int(own['n_rollouts'].max())} walks",
    )
