"""Models whose circuit was written into their weights: whether searches find it, and what single ablation misses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from jobs.report.drawing import Drawing, Table
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from tdlens.figures import GREEN, GREY, VERMILION, canvas, number

NAME = "planted"
TITLE = "Ground truth: circuits that were written into the weights"
OVERLAY = "none: the paper has no model whose circuit is known for certain"

ROLES = {
    "circuit": ("in the circuit", GREEN),
    "hidden": ("in it, with a twin", VERMILION),
    "other": ("of no use", GREY),
}


@dataclass(frozen=True)
class Planted:
    """The heads of one such model."""

    model: str
    heads: pd.DataFrame
    """A row a head: layer, head, name, role, score, pair_excess, found_rank."""

    def of(self, role: str) -> pd.DataFrame:
        """Those of one role."""
        return self.heads[self.heads["role"] == role]

    @property
    def found_first(self) -> bool | None:
        """Whether searches try every head of the circuit before any that is of no use; None if none searched."""
        inside, outside = self.of("circuit")["found_rank"], self.of("other")["found_rank"].dropna()
        if inside.empty or self.heads["found_rank"].isna().all():
            return None
        return bool(inside.notna().all() and (outside > inside.max()).all())

    @property
    def twins(self) -> tuple[float, float] | None:
        """Of a head and its twin, the largest damage alone, and that of both together; None if there are none."""
        twins = self.of("hidden").dropna(subset=["pair_excess"])
        if len(twins) != 2:
            return None
        return float(twins["score"].max()), float(twins["score"].sum() + twins["pair_excess"].min())


def read_planted(reader: Reader) -> list[Planted]:
    """The models, the smallest first.

    Raises:
        NotRecorded: there is none.
    """
    rows = reader.ask(
        """
        SELECT model, layer, head, name, role, score, pair_excess, found_rank FROM v_planted_circuit
        WHERE study = :study ORDER BY model, layer, head
        """
    )
    if rows.empty:
        raise NotRecorded("models whose circuit is known (stage planted)")
    numbers = ["score", "pair_excess", "found_rank"]
    rows[numbers] = rows[numbers].apply(pd.to_numeric)
    models = [Planted(str(model), one.reset_index(drop=True)) for model, one in rows.groupby("model", sort=True)]
    return sorted(models, key=lambda one: len(one.heads))


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A panel a model: a tile a head, with its part, its score and when it was found."""
    models = read_planted(reader)
    layers = [one.heads["layer"].nunique() for one in models]
    figure, several = canvas(len(models), 1, height=0.66 * sum(layers) + 0.75 * len(models), height_ratios=layers)
    axes = list(several[:, 0])
    for ax, one in zip(axes, models, strict=True):
        _panel(ax, one)
    handles = [axes[0].scatter([], [], marker="s", s=70, color=colour) for _, colour in ROLES.values()]
    figure.legend(handles, [label for label, _ in ROLES.values()], loc="outside lower center", ncols=len(ROLES))
    return Drawing(
        figure,
        sees=_sees(models),
        beside=(
            "Large numbers: damage to the task by single ablation, nats; below, the mean pick at which the search "
            "tried the head, and for heads with a twin what both lose together beyond the sum. These models do nothing "
            "but the one task, so that no control text is subtracted, and they tell whether the method is right, not "
            "how well it does on a model that was trained. The searches have settings of their own: one training each, "
            "K = 1, 32 episodes side by side that are as long as the circuit has heads, a learning rate of 0.002, an "
            "entropy weight of 0.01, 2 minibatches."
        ),
        n=", ".join(f"{one.model.replace('_', ' ')}: {len(one.heads)} heads" for one in models),
        table=_table(models),
    )


def _panel(ax: Axes, one: Planted) -> None:
    for row in one.heads.to_dict("records"):
        _, colour = ROLES[row["role"]]
        x, y, faint = float(row["head"]), float(row["layer"]), row["role"] == "other"
        ax.add_patch(_tile(x, y, colour, 0.16 if faint else 0.85))
        ink = "#222831" if faint else "white"
        text: Any = {"ha": "center", "va": "center", "color": ink}
        together = row["role"] == "hidden" and not pd.isna(row["pair_excess"])
        ax.text(x, y - (0.2 if together else 0.11), number(row["score"]), fontsize=9, fontweight="bold", **text)
        pick = "not tried" if pd.isna(row["found_rank"]) else f"pick {number(row['found_rank'], 1)}"
        ax.text(x, y + (0.05 if together else 0.2), pick, fontsize=7, **text)
        if together:
            ax.text(x, y + 0.25, f"both +{number(row['pair_excess'])}", fontsize=7, **text)
    heads, layers = one.heads["head"].max(), one.heads["layer"].max()
    ax.set(xlim=(-0.55, heads + 0.55), ylim=(layers + 0.55, -0.55), title=one.model.replace("_", " "))
    ax.set(xticks=range(heads + 1), yticks=range(layers + 1), xlabel="head", ylabel="layer, from 0 on")
    ax.grid(False)


def _tile(x: float, y: float, colour: str, alpha: float) -> Any:
    return FancyBboxPatch(
        (x - 0.42, y - 0.38), 0.84, 0.76, boxstyle="round,pad=0,rounding_size=0.08", facecolor=colour, alpha=alpha,
        linewidth=0,
    )  # fmt: skip


def _sees(models: list[Planted]) -> str:
    parts = []
    for one in models:
        circuit = one.of("circuit")
        picks = zip(circuit["name"], circuit["found_rank"], strict=True)
        inside = ", ".join(f"{name} (pick {number(rank, 1)})" for name, rank in picks)
        told = f"{one.model.replace('_', ' ')}: the circuit's heads are {inside or 'all hidden'}"
        if one.twins is not None:
            alone, together = one.twins
            names = " and ".join(one.of("hidden")["name"])
            told += (
                f"; {names} stand in for each other: alone either costs {number(alone)} nats at most, both together "
                f"{number(together)}"
            )
        parts.append(told)
    return f"{'. '.join(parts)}."


def _table(models: list[Planted]) -> Table:
    rows = [
        (
            one.model.replace("_", " "),
            str(row["name"]),
            ROLES[str(row["role"])][0],
            number(row["score"], 3),
            number(row["pair_excess"], 3),
            number(row["found_rank"], 1),
        )
        for one in models
        for row in one.heads[one.heads["role"] != "other"].to_dict("records")
    ]
    return Table(
        ("model", "head", "part", "damage alone, nats", "excess with its twin", "mean pick"),
        tuple(rows),
        words=(0, 1, 2),
    )
