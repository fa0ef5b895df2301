"""Fig 1: the three tasks and the way of the data, drawn from the tasks' own code."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

from envs.graph_walk import ADJACENCY, BOTTLENECKS, COMMUNITY_SIZE, N_NODES, GraphWalk, GraphWalkConfig, community
from envs.grid_world import GridWorld, GridWorldConfig
from envs.two_step import FRUITS, TwoStep, TwoStepConfig
from jobs.report.drawing import Drawing
from jobs.report.graph_walk.maps import COLOURS
from jobs.report.reader import Reader, StudyFacts
from tdlens.figures import BLUE, GREEN, GREY, INK, ORANGE, VERMILION, canvas

NAME = "fig1_tasks"
TITLE = "Fig 1 · The tasks and the way of the data"
OVERLAY = "Fig 1 of the paper is a drawing; its rewards differ from those of its data, which are the ones here"

SEED = 0
PIPELINE = (
    ("task as text", "the model plays it,\nor reads and foretells"),
    ("residual stream", "of every block,\nat decision tokens"),
    ("sparse autoencoder", "one a block"),
    ("correlation", "of latents with\nlearners' signals"),
    ("lesion", "latents at zero:\nbehaviour, later blocks"),
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A: the two-step tree. B: the grid with two episodes of its agent. C: the graph. D: the way of the data."""
    figure, axes = canvas(2, 3, height=6.4, height_ratios=(2.4, 1))
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[["left", "bottom"]].set_visible(False)
    _tree(axes[0, 0])
    episodes = _grid(axes[0, 1])
    words = _graph(axes[0, 2])
    grid = axes[1, 0].get_gridspec()
    for ax in axes[1]:
        ax.remove()
    _pipeline(figure.add_subplot(grid[1, :]))
    return Drawing(
        figure,
        sees=(
            "A: in the Two-Step task two choices lead to points; no reward comes with the first. B: in the Grid World "
            f"an agent learns the way from the start to the goal; its episodes 0 and {episodes} are drawn. The model "
            f"reads its moves and foretells each. C: a random walk over {N_NODES} nodes in three communities, named by "
            f"words drawn anew for every walk (here {words}); squares are bottleneck nodes. D: what is done with all "
            "three."
        ),
        beside=(
            "Drawn from the code that makes the tasks, for the seed 0: sides, fruits and words differ from rollout to "
            "rollout. Start and goal of the grid are settings, for the paper does not print them."
        ),
        n="1 instance of each task",
    )


def _tree(ax: Axes) -> None:
    layout = TwoStep(TwoStepConfig(), SEED).layout
    ax.set(title="A · Two-Step", xlim=(-2.3, 2.3), ylim=(-0.55, 2.5))
    ax.text(0, 2.15, "start", ha="center", va="center", bbox=_box(INK))
    for side, x in enumerate((-1.15, 1.15)):
        fruit = layout.fruit_of[side]
        colour = (GREEN, ORANGE)[fruit - 1]
        _arrow(ax, (0, 1.98), (x, 1.3), ("left", "right")[side])
        ax.text(x, 1.13, FRUITS[fruit - 1], ha="center", va="center", bbox=_box(colour))
        for action, step in enumerate((-0.62, 0.62)):
            points = layout.points[fruit - 1][action]
            best = points == layout.best_return()
            _arrow(ax, (x, 0.96), (x + step, 0.22), ("left", "right")[action])
            weight = "bold" if best else "normal"
            ax.text(x + step, 0.05, f"{points} points", ha="center", va="center", fontsize=8.5, fontweight=weight)
    ax.text(0, -0.42, "You pick left. You see an apple. You pick …", ha="center", fontsize=7.5, color=GREY)


def _grid(ax: Axes) -> int:
    """Draws an early and a late episode of one agent; gives the late one's number."""
    config = GridWorldConfig()
    game = GridWorld(config, SEED)
    while not game.done:
        game.act(game.forced_action or 0)
    size = config.size
    ax.set(title="B · Grid World", xlim=(-0.7, size - 0.3), ylim=(-1.25, size - 0.3), aspect="equal")
    for x in range(size):
        for y in range(size):
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor="white", edgecolor="#D5D9DE"))
    last = max(step.episode for step in game.steps if step.done)
    for episode, colour, shift in ((0, GREY, -0.12), (last, BLUE, 0.12)):
        steps = [step for step in game.steps if step.episode == episode]
        end = config.goal if steps[-1].done else steps[-1].next_state
        rows, columns = np.divmod(np.array([*(step.state for step in steps), end]), size)
        ax.plot(columns + shift, rows + shift, color=colour, linewidth=1.6, marker=".", label=f"episode {episode}")
    for state, text, colour in ((config.start, "start", INK), (config.goal, "goal", VERMILION)):
        y, x = divmod(state, size)
        ax.text(x - 0.44, y + 0.32, text, fontsize=7.5, color=colour, fontweight="bold")
    ax.legend(loc="lower center", ncols=2, fontsize=7.5)
    return last


def _graph(ax: Axes) -> str:
    """Draws the graph with one walk's words; gives the first of them."""
    words = GraphWalk(GraphWalkConfig(), SEED).words
    places = []
    for node in range(N_NODES):
        middle = 2 * np.pi * community(node) / 3 + np.pi / 2
        # bottlenecks, first and last of a community, face the communities that they lead to
        around = middle + np.pi + 2 * np.pi * (node % COMMUNITY_SIZE + 0.5) / COMMUNITY_SIZE
        places.append((2 * np.cos(middle) + np.cos(around), 2 * np.sin(middle) + np.sin(around)))
    for first in range(N_NODES):
        for second in range(first):
            if ADJACENCY[first, second]:
                (x0, y0), (x1, y1) = places[first], places[second]
                ax.plot([x0, x1], [y0, y1], color="#D5D9DE", linewidth=0.9, zorder=1)
    for node, (x, y) in enumerate(places):
        ax.plot(x, y, "s" if node in BOTTLENECKS else "o", color=COLOURS[community(node)], markersize=6.5, zorder=2)
        ax.annotate(words[node], (x, y), (4, 4), textcoords="offset points", fontsize=6.8, color=GREY)
    ax.set(title="C · Graph", aspect="equal")
    ax.margins(0.15)
    return ", ".join(words[:3])


def _pipeline(ax: Axes) -> None:
    ax.set(title="D · The way of the data", xlim=(-0.1, len(PIPELINE) - 0.1), ylim=(0, 1), xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[["left", "bottom"]].set_visible(False)
    for place, (name, what) in enumerate(PIPELINE):
        x = place + 0.4
        ax.text(x, 0.72, name, ha="center", va="center", fontweight="bold", fontsize=9, bbox=_box(BLUE))
        ax.text(x, 0.24, what, ha="center", va="center", fontsize=8, color=GREY)
        if place:
            ax.add_patch(
                FancyArrowPatch((x - 0.56, 0.72), (x - 0.44, 0.72), arrowstyle="->", mutation_scale=11, color=GREY)
            )


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], label: str) -> None:
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="->", mutation_scale=10, color=GREY, linewidth=1))
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    ax.text(
        x,
        y,
        label,
        fontsize=7.5,
        color=GREY,
        ha="center",
        va="center",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def _box(colour: str) -> dict[str, object]:
    return {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": colour, "linewidth": 1.4}
