"""Figs 6D and 6E: the nodes as the edited block represents them, with and without the SR-TD latent."""

from __future__ import annotations

from jobs.report.drawing import Drawing
from jobs.report.graph_walk.groups import sr_lesion
from jobs.report.graph_walk.maps import draw_map, read_maps
from jobs.report.lesions import read_lesions
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from tdlens.figures import canvas

NAME = "fig6de_maps"
TITLE = "Figs 6D, 6E · The graph without the SR-TD latent"
OVERLAY = "Figs 6D and 6E of the paper show block 65 of 80; their places of nodes were not read off"


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """The first edited block and the next, each without and with the lesion."""
    lesion = sr_lesion(read_lesions(reader, facts))
    intact, lesioned = read_maps(reader, "stream"), read_maps(reader, "stream", lesion.name)
    blocks = [block for block in (lesion.block, lesion.block + 1) if block in set(lesioned["block"])]
    if not blocks:
        raise NotRecorded("maps of the nodes under the lesion")
    figure, axes = canvas(1, 2 * len(blocks), height=3.0)
    for place, block in enumerate(blocks):
        draw_map(axes[0, 2 * place], intact[intact["block"] == block], f"block {block}, no lesion")
        draw_map(axes[0, 2 * place + 1], lesioned[lesioned["block"] == block], f"block {block}, latent zeroed")
    return Drawing(
        figure,
        sees=(
            f"The nodes of one walk at their last visits as block {' and '.join(map(str, blocks))} represent"
            f"{'s' if len(blocks) == 1 else ''} them, without and with the SR-TD latent of block {lesion.block} at 0. "
            "Colours are communities, squares bottleneck nodes, lines links; all maps are turned onto that of the "
            "successor representation."
        ),
        beside=(
            "One walk of the paper's one. Taking one latent away moves every point a little; Fig 6B measures over all "
            "walks, beside control latents, whether anything about the successor representation is lost."
        ),
        n="1 walk, the study's first",
    )
