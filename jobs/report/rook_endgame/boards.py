"""A board of the endgame, with what a latent adds to each move drawn on the square that the move leads to."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Circle, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from envs.rook_endgame import N_KING, SIZE, decode, destination
from tdlens.figures import BLUE, INK, VERMILION

LIGHT, DARK, EDGE = "#F4F1EA", "#E6E0D3", "#8A8F98"
PIECES = (("♜", "white"), ("♚", "white"), ("♚", INK))
"""Rook, white king, black king: glyphs of DejaVu Sans, the font of all figures."""
COLOURS = LinearSegmentedColormap.from_list("q", [VERMILION, "#FFFFFF", BLUE])
"""Of a change of Q: what speaks against a move, nothing, what speaks for it."""


def draw_board(ax: Axes, state: int, q_effect: ArrayLike, scale: float) -> None:
    """Squares, pieces and effects on the moves.

    A square that the rook's move leads to is filled, one that the king's leads to has a disc; moves off the board have
    no square.

    Args:
        ax: emptied of ticks and frame.
        state: of the board.
        q_effect: change of each action's Q-value [24].
        scale: the change of full colour, above 0.
    """
    for square in range(SIZE**2):
        x, y = square % SIZE, square // SIZE
        ax.add_patch(Rectangle((x, y), 1, 1, color=LIGHT if (x + y) % 2 else DARK, linewidth=0, zorder=1))
    effects, shade = np.asarray(q_effect, dtype=np.float64), Normalize(-scale, scale)
    squares = destination(np.full(len(effects), state), np.arange(len(effects)))
    for action, (square, effect) in enumerate(zip(squares.tolist(), effects.tolist(), strict=True)):
        if square >= 0:
            x, y = square % SIZE, square // SIZE
            style = {"facecolor": COLOURS(shade(effect)), "edgecolor": EDGE, "linewidth": 0.5}
            if action < N_KING:
                ax.add_patch(Circle((x + 0.5, y + 0.5), 0.33, zorder=3, **style))
            else:
                ax.add_patch(Rectangle((x, y), 1, 1, zorder=2, **style))
    for (piece, colour), place in zip(PIECES, decode(state), strict=True):
        x, y = int(place) % SIZE, int(place) // SIZE
        outline = withStroke(linewidth=1.6, foreground=INK if colour == "white" else "white")
        middle = (x + 0.5, y + 0.46)
        ax.text(*middle, piece, ha="center", va="center", fontsize=15, color=colour, zorder=4, path_effects=[outline])
    ax.add_patch(Rectangle((0, 0), SIZE, SIZE, fill=False, edgecolor=EDGE, linewidth=0.8, zorder=5))
    ax.set(xlim=(-0.02, SIZE + 0.02), ylim=(-0.02, SIZE + 0.02), xticks=[], yticks=[], aspect="equal")
    ax.grid(False)
    ax.spines[["left", "bottom"]].set_visible(False)
