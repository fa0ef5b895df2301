"""Maps of the nodes: where multidimensional scaling puts what a block made of each at its last visit."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from envs.graph_walk import ADJACENCY, BOTTLENECKS
from jobs.report.prediction import NO_LESION
from jobs.report.reader import NotRecorded, Reader
from tdlens.figures import BLUE, GREEN, GREY, VERMILION

COLOURS = (BLUE, VERMILION, GREEN)
"""Of the communities."""


def read_maps(reader: Reader, source: str, intervention: str = NO_LESION) -> pd.DataFrame:
    """Places of the nodes by block: columns block, item, label, grp, x, y.

    Raises:
        NotRecorded: there is no map of this source.
    """
    rows = reader.ask(
        """
        SELECT block, item, label, grp, x, y FROM v_map_point
        WHERE study = :study AND method = 'mds' AND source = :source AND intervention = :intervention
          AND rollout_index = (SELECT min(rollout_index) FROM v_map_point WHERE study = :study)
        ORDER BY block, item
        """,
        source=source,
        intervention=intervention,
    )
    if rows.empty:
        raise NotRecorded("maps of the nodes")
    return rows


def at_depth(maps: pd.DataFrame, n_blocks: int, depth: float) -> int:
    """The mapped block nearest to a relative depth."""
    blocks = maps["block"].dropna().unique()
    return int(min(blocks, key=lambda block: (abs(block / n_blocks - depth), block)))


def draw_map(ax: Axes, nodes: pd.DataFrame, title: str) -> None:
    """Nodes by community, links of the graph behind them, bottlenecks as squares, the walk's words beside them."""
    places = nodes.set_index("item")
    for first in places.index:
        for second in places.index:
            if first < second and ADJACENCY[first, second]:
                ends = places.loc[[first, second]]
                ax.plot(ends["x"], ends["y"], color="#D5D9DE", linewidth=0.8, zorder=1)
    for item, node in places.iterrows():
        marker = "s" if item in BOTTLENECKS else "o"
        ax.plot(node["x"], node["y"], marker, color=COLOURS[int(node["grp"])], markersize=6, zorder=2)
        ax.annotate(node["label"], (node["x"], node["y"]), (4, 3), textcoords="offset points", fontsize=6.5, color=GREY)
    ax.set(title=title, xticks=[], yticks=[])
    ax.set_aspect("equal", adjustable="datalim")
    ax.title.set_fontsize(9.5)
    ax.grid(False)
    ax.margins(0.15)
    ax.spines[["left", "bottom"]].set_visible(False)
