"""The logit lens: which tokens the vectors make more likely."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing, Table
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.welfare_axis.trainings import NAIVE, Training, primary
from jobs.report.welfare_axis.vectors import CONCEPTS
from tdlens.figures import GREY, canvas

NAME = "tokens"
TITLE = "What the vectors say: tokens by the logit lens"
OVERLAY = (
    "Han et al. (2026), Qwen3-4B-Instruct: Mold 不存在, cannot, 不行, impossible; Gold <|endoftext|>, 伟大; in words "
    "alone"
)

DRAWN = 8
"""Tokens of a vector in the figure."""


def read_tokens(reader: Reader, training: Training) -> dict[tuple[str, str], pd.DataFrame]:
    """By (the training's name or ``naive``, concept): sign, rank, token, logit, block; the same tiles for both.

    Raises:
        NotRecorded: there are none.
    """
    rows = reader.ask(
        """
        SELECT training, variant, concept, block, sign, rank, token, logit FROM v_concept_token
        WHERE study = :study AND variant = :variant ORDER BY training, concept, sign DESC, rank
        """,
        variant=training.variant,
    )
    mine = rows[rows["training"].isna() | (rows["training"] == training.name)].copy()
    if mine.empty:
        raise NotRecorded("tokens of the concept vectors (stage concepts)")
    mine["training"] = mine["training"].fillna(NAIVE)
    mine["logit"] = mine["logit"].astype(float)
    return {(str(name), str(concept)): one for (name, concept), one in mine.groupby(["training", "concept"])}


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Rows: trained and naive; columns: Gold and Mold; what rises."""
    training = primary(facts)
    tokens = read_tokens(reader, training)
    names = [name for name in (training.name, NAIVE) if any((name, concept) in tokens for concept in CONCEPTS)]
    figure, axes = canvas(len(names), 2, height=2.6 * len(names))
    for across, name in zip(axes, names, strict=True):
        for ax, (concept, colour) in zip(across, CONCEPTS.items(), strict=True):
            found = tokens.get((name, concept))
            if found is None:
                ax.set_visible(False)
                continue
            _panel(ax, found[found["sign"] > 0].head(DRAWN), colour if name != NAIVE else GREY)
            ax.set(title=f"{name}: {concept.capitalize()} · block {int(found['block'].iloc[0])}")
    return Drawing(
        figure,
        sees="; ".join(
            f"{name}, {concept}: {_first(found, 1, 5)}" for (name, concept), found in _ordered(tokens, names)
        ),
        beside=(
            "Unembedding times the vector of length 1, less its mean over the vocabulary, without the final norm's "
            "weights of a real state: it says what the vector alone would write, not what the model does with it. A "
            "small vocabulary says little. Characters that the figure's font lacks are written as codes; the table has "
            "them as they are."
        ),
        n=f"{max(int(found['rank'].max()) for found in tokens.values())} tokens of each sign",
        table=Table(
            ("model", "vector", "more likely", "less likely"),
            tuple(
                (name, concept, _first(found, 1, 20), _first(found, -1, 20))
                for (name, concept), found in _ordered(tokens, names)
            ),
            words=(0, 1, 2, 3),
        ),
    )


def _ordered(
    tokens: dict[tuple[str, str], pd.DataFrame], names: list[str]
) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    keys = [(name, concept) for name in names for concept in CONCEPTS]
    return [(key, tokens[key]) for key in keys if key in tokens]


def _panel(ax: Axes, rows: pd.DataFrame, colour: str) -> None:
    heights = np.arange(len(rows))[::-1]
    ax.barh(heights, rows["logit"], color=colour, alpha=0.75, height=0.72)
    for height, token in zip(heights, rows["token"], strict=True):
        ax.annotate(
            _plain(str(token)), (0, height), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8,
            parse_math=False,
        )  # fmt: skip
    ax.set(yticks=[], xlabel="logit, above the vocabulary's mean")
    ax.grid(axis="y", visible=False)


def _plain(token: str) -> str:
    return "".join(letter if letter.isascii() and letter.isprintable() else f"\\u{ord(letter):04x}" for letter in token)


def _first(rows: pd.DataFrame, sign: int, n: int) -> str:
    return ", ".join(f"“{token}”" for token in rows.loc[rows["sign"] == sign, "token"].head(n))
