"""Whether the TD latents follow a difference, or only one of its parts: their weights on each."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes

from envs.agents.td_parts import PARTS, SIGNS
from jobs.report.block_measures import of, read_measures
from jobs.report.drawing import Drawing, Table
from jobs.report.reader import Reader, StudyFacts
from jobs.report.strongest import selected
from jobs.report.verdicts import Interval
from jobs.stages.td_parts import BY_DIFFERENCE, EXPLAINED, MEASURES, PARTIAL, SIGNAL
from tdlens.figures import BLUE, GREEN, GREY, VERMILION, canvas, number

NAME = "td_parts"
TITLE = "The parts of the TD error in the latents that follow it"
OVERLAY = "none: the paper reports correlations with the whole error only"

LABELS = dict(zip(PARTS, ("reward r", "γ max Q(s′, ·)", "Q(s, a)"), strict=True))
COLOURS = dict(zip(PARTS, (GREEN, BLUE, VERMILION), strict=True))
ALL = tuple(f"{name}{ending}" for ending in ("", PARTIAL) for name in (*MEASURES, EXPLAINED, BY_DIFFERENCE))


class Found(NamedTuple):
    """A block's latent."""

    block: int
    weights: dict[str, Interval]
    """On each part."""
    explained: float
    """Share of variance that the three explain."""
    by_error: float
    """Share that the error explains, their sum with its signs."""

    @property
    def difference(self) -> bool:
        """Whether the next value and the last one have weights of an error's signs, beyond their intervals."""
        return self.weights["next_value"].low > 0 > self.weights["last_value"].high


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Left: weights on the three parts. Right: the same with the covariates held constant."""
    rows = read_measures(reader, facts, ALL, (SIGNAL,))
    figure, axes = canvas(1, 2, height=3.6, sharey=True)
    plain, partial = _found(rows, ""), _found(rows, PARTIAL)
    for ax, found, title in (
        (axes[0, 0], plain, "Weights on the parts"),
        (axes[0, 1], partial, "… covariates held constant"),
    ):
        _draw(ax, found, facts, title)
    axes[0, 0].set_ylabel("standard deviations of the latent\na standard deviation of the part")
    axes[0, 0].legend(fontsize=7)
    return Drawing(
        figure,
        sees=(
            f"The latent of each block that follows the TD error best on one half of the rollouts, regressed on the "
            f"error's three parts on the other half, with 95 % intervals over rollouts. An error has a positive weight "
            f"on the next state's value and a negative one on the last action's: so do {_named(plain)}; with the "
            f"covariates held constant, {_named(partial)}."
        ),
        beside=(
            "A latent that follows one value alone correlates with the error, too. The parts are means over the "
            "transitions that the learner replays, as the error is; where that is the whole history they are slow and "
            "nearly collinear, and the intervals are wide: a weight whose interval contains 0 tells nothing. "
            "What the parts explain is, with the covariates held constant, the share of what these leave. The "
            f"covariates are {', '.join(facts.covariates)}.".replace("_", " ")
        ),
        n=f"{int(rows['n_rollouts'].min())} held-out rollouts",
        table=_table(reader, facts, plain, partial),
    )


def _found(rows: pd.DataFrame, ending: str) -> list[Found]:
    curves = {name: of(rows, f"{name}{ending}", SIGNAL) for name in (*MEASURES, EXPLAINED, BY_DIFFERENCE)}
    blocks = sorted(set.intersection(*(set(curve.index) for curve in curves.values())))
    found = []
    for block in blocks:
        here = {name: curve.loc[block] for name, curve in curves.items()}
        weights = {
            part: Interval(*(float(here[measure][column]) for column in ("value", "ci_low", "ci_high")))
            for part, measure in zip(PARTS, MEASURES, strict=True)
        }
        found.append(Found(int(block), weights, float(here[EXPLAINED]["value"]), float(here[BY_DIFFERENCE]["value"])))
    return found


def _draw(ax: Axes, found: list[Found], facts: StudyFacts, title: str) -> None:
    depth = [one.block / facts.n_blocks for one in found]
    for part in PARTS:
        weights = [one.weights[part] for one in found]
        sign = "+" if SIGNS[PARTS.index(part)] > 0 else "−"
        colour = COLOURS[part]
        label = f"{LABELS[part]} (in the error: {sign})"
        value, low, high = ([getattr(w, name) for w in weights] for name in ("value", "low", "high"))
        ax.plot(depth, value, color=colour, marker="o", label=label)
        ax.fill_between(depth, low, high, color=colour, alpha=0.14, linewidth=0)
    ax.axhline(0, color=GREY, linewidth=0.9)
    ax.set(title=title, xlabel="relative depth", xlim=(-0.02, 1.02))


def _named(found: list[Found]) -> str:
    blocks = [str(one.block) for one in found if one.difference]
    return f"the latents of {len(blocks)} of {len(found)} blocks" + (f" ({', '.join(blocks)})" if blocks else "")


def _table(reader: Reader, facts: StudyFacts, plain: list[Found], partial: list[Found]) -> Table:
    chosen = selected(reader, facts, (SIGNAL,))
    own = chosen[(chosen["source"] == "sae") & (chosen["sae"] == facts.sae)]
    latents = dict(zip(own["block"].tolist(), own["latent"].tolist(), strict=True))
    header = ("block/latent", "covariates", *LABELS.values(), "explained by the parts", "by the error alone")
    rows = [
        (
            f"{one.block}/{latents[one.block]}" if one.block in latents else str(one.block),
            held,
            *(one.weights[part].text() for part in PARTS),
            number(one.explained),
            number(one.by_error),
        )
        for one, held in sorted(
            [*((one, "free") for one in plain), *((one, "held constant") for one in partial)],
            key=lambda row: row[0].block,
        )
    ]
    return Table(header, tuple(rows), words=(0, 1))
