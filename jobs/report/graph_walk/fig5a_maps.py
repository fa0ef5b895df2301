"""Fig 5A: the nodes as early, middle and late blocks represent them, and as the successor representation does."""

from __future__ import annotations

from jobs.report.drawing import Drawing
from jobs.report.graph_walk.maps import at_depth, draw_map, read_maps
from jobs.report.reader import Reader, StudyFacts
from jobs.report.strongest import PAPER_BLOCKS
from tdlens.figures import canvas

NAME = "fig5a_maps"
TITLE = "Fig 5A · The graph as blocks represent it"
OVERLAY = "Fig 5A of the paper shows blocks 5, 40 and 79 of 80; its places of nodes were not read off"

PAPER_SHOWS = (5, 40, 79)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Blocks at the paper's relative depths, and the successor representation."""
    maps, own = read_maps(reader, "stream"), read_maps(reader, "sr")
    blocks = sorted({at_depth(maps, facts.n_blocks, block / PAPER_BLOCKS) for block in PAPER_SHOWS})
    figure, axes = canvas(1, len(blocks) + 1, height=3.1)
    for ax, block in zip(axes[0], blocks, strict=False):
        draw_map(ax, maps[maps["block"] == block], f"block {block} of {facts.n_blocks}")
    draw_map(axes[0, -1], own, "successor representation")
    return Drawing(
        figure,
        sees=(
            "Each point is a node of one walk at its last visit, named by that walk's word; nearby nodes have similar "
            "representations (cosine distance, multidimensional scaling). Colours are the three communities, squares "
            "the bottleneck nodes between them, lines the links of the graph. All maps are turned onto that of the "
            "successor representation."
        ),
        beside=(
            "One walk, and an eye finds clusters anywhere. What the eye sees is measured over all walks in the figure "
            "of similarities: nodes of one community against others, an untrained model, and permuted nodes."
        ),
        n="1 walk, the study's first",
    )
