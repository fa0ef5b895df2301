"""Single latents: the boards at which each is largest, and what it adds to the moves there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable

from jobs.report.drawing import Drawing
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.rook_endgame.boards import COLOURS, draw_board
from jobs.report.rook_endgame.latents import Sheet, read_sheet, records, said
from tdlens.figures import GREY, INK, canvas, number

NAME = "features"
TITLE = "Single latents, and what they see"
OVERLAY = "the author's viewer of features shows such pages; its rook SAEs have no list of named features"

BOARDS = 6
"""Boards shown of each latent."""
BAR: Any = {"orientation": "horizontal", "fraction": 0.05, "aspect": 60, "pad": 0.02}
FAMILIES = 3
"""So many latents are shown because they are the clearest of their family."""


def chosen(sheet: Sheet) -> Iterator[tuple[int, str]]:
    """Latents by stated rules, each once, with the rule."""
    seen: set[int] = set()

    def new(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[~rows.index.isin(seen)]

    families: set[str] = set()
    for row in records(sheet.told):
        if row["family"] not in families and len(families) < FAMILIES:
            families.add(row["family"])
            seen.add(row["latent"])
            yield row["latent"], "clearest of its family"
    for rule, rows, column, ascending in (
        ("adds most at equal Q-values", sheet.matched, "added_low", False),
        ("clear, with the least effect", sheet.clear, "flip_rate", True),
        ("changes most moves", sheet.rows, "flips", False),
    ):
        rest = new(rows).dropna(subset=[column]).sort_values(column, ascending=ascending, kind="stable")
        if len(rest):
            latent = int(rest.index[0])
            seen.add(latent)
            yield latent, rule


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A row a latent."""
    sheet = read_sheet(reader, facts)
    rules = dict(chosen(sheet))
    if not rules:
        raise NotRecorded("a latent that tells a property of boards")
    examples = _examples(reader, facts, sheet.sae, list(rules))
    figure, axes = canvas(len(rules), BOARDS + 1, height=1.32 * len(rules) + 0.7, width_ratios=(1.95, *([1] * BOARDS)))
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02)
    about = {row["latent"]: row for row in records(sheet.rows)}
    for line, (latent, rule) in zip(axes, rules.items(), strict=True):
        here = [row for row in examples if row["latent"] == latent][:BOARDS]
        effects = [np.array(json.loads(e) if isinstance(e, str) else e) for e in (row["q_effect"] for row in here)]
        scale = max((float(np.abs(effect).max()) for effect in effects), default=0.0) or 1.0
        _caption(line[0], about[latent], rule, scale)
        for ax, row, effect in zip(line[1:], here, effects, strict=False):
            draw_board(ax, row["state"], effect, scale)
            ax.set_title(number(row["value"]), fontsize=7.5, fontweight="normal", color=GREY, pad=2, loc="center")
        for ax in line[1 + len(here) :]:
            ax.set_visible(False)
    bar = figure.colorbar(ScalarMappable(cmap=COLOURS), ax=axes[-1, 1:].tolist(), **BAR)
    bar.set_ticks([0, 0.5, 1], labels=["against the move", "what the latent adds to its Q-value", "for the move"])
    bar.ax.tick_params(length=0, labelsize=8)
    bar.outline.set_visible(False)
    return Drawing(
        figure,
        sees=(
            f"{len(rules)} latents of {sheet.sae}, chosen by rule: the clearest of {FAMILIES} families of properties, "
            "the one that tells its property best between boards of equal Q-values, the clear one whose removal "
            "changes fewest moves, and the one whose removal changes most. Above each board is the latent's value "
            "there. A filled square shows what it adds to the rook's move to it, a disc to the king's; blue speaks for "
            "the move, orange against it, at full colour by the amount at the left."
        ),
        beside=(
            "The largest activations flatter a latent: F1 also counts the boards where it fires weakly or where the "
            "property holds and it stays silent. A latent's name is the predicate it fits best of those that were "
            "tried, not proof that the network means it."
        ),
        n=(
            f"{BOARDS} of the 7,040 boards that occur in games, a latent; {len(sheet.told)} latents of {sheet.live} "
            "alive tell a property"
        ),
    )


def _examples(reader: Reader, facts: StudyFacts, sae: str, latents: list[int]) -> list[dict[str, Any]]:
    rows = reader.rows(
        """
        SELECT latent, rank, state, value, q_effect FROM v_latent_example
        WHERE study = :study AND model = :model AND sae = :sae AND latent IN :latents ORDER BY latent, rank
        """,
        model=facts.model,
        sae=sae,
        latents=latents,
    )
    if not rows:
        raise NotRecorded("boards at which latents are largest (stage probe)")
    return rows


def _caption(ax: Axes, row: dict[str, Any], rule: str, scale: float) -> None:
    ax.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
    ax.grid(False)
    ax.spines[["left", "bottom"]].set_visible(False)
    often = 100 * row["frequency_all"]
    lines = [
        f"F1 {number(row['f1_heldout'])} (chance {number(row['null_mean'])}), fires on {often:.2g} % of boards",
        f"removal changes the move on {100 * row['flip_rate']:.2g} % of these",
        f"full colour: ±{number(scale, 3 if scale < 0.1 else 2)} of Q",
    ]
    if row["told"] and row["matched_share"] == row["matched_share"]:
        lines.insert(1, f"at equal Q-values right in {100 * row['matched_share']:.0f} % of pairs")
    name = said(row["predicate"]) if row["told"] else f"nothing for sure; nearest: {said(row['predicate'])}"
    ax.text(0, 0.98, f"latent {row['latent']}, {rule}", fontsize=7.5, color=GREY, va="top")
    ax.text(0, 0.83, fill(name, 34), fontsize=8.6, color=INK, fontweight="bold", va="top", linespacing=1.15)
    ax.text(0, 0.0, "\n".join(lines), fontsize=7.2, color=GREY, va="bottom", linespacing=1.35)
