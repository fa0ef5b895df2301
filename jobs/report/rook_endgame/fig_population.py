"""Live latents against how well an agent plays, over agents of other seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy import stats

from jobs.report.drawing import Drawing
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.rook_endgame import authors
from jobs.report.verdicts import Interval
from tdlens.figures import BLUE, GREY, PUBLISHED, canvas, number

NAME = "population"
TITLE = "Live latents and how well an agent plays"
OVERLAY = (
    "24 Ms. Pac-Man agents of the author (those of PMLR 322, 2026), fit recomputed from the log files; eleven of the "
    "agents are known one by one"
)

FEWEST = 6
"""Agents that a curve is fitted to."""
RESAMPLES = 2000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """Score = a + b x + c x², x being live latents in standard deviations from their mean, by least squares."""

    coefficients: Floats
    """c, b, a"""
    curvature: Interval
    """c, in points per squared standard deviation; the interval is a bootstrap over agents."""
    r_squared: float
    f: float
    p: float
    """Of the F test of both slopes with 2 and n - 3 degrees of freedom."""
    grid: Floats
    low: Floats
    high: Floats
    """Of the curve over the grid of live latents, pointwise 95 %."""
    mean: float
    sd: float

    @property
    def vertex(self) -> float:
        """Live latents at which the curve turns; NaN for a line."""
        c, b, _ = self.coefficients
        return self.mean - self.sd * float(b) / (2 * float(c)) if c else float("nan")

    @property
    def turns_within(self) -> bool:
        """Whether it turns among the agents there are."""
        return bool(self.grid[0] < self.vertex < self.grid[-1])

    def at(self, live: Floats) -> Floats:
        """The fitted score."""
        return np.asarray(np.polyval(self.coefficients, (live - self.mean) / self.sd))


def read_population(reader: Reader) -> pd.DataFrame:
    """A row an agent: model, live (latents that fire in its own games), score (mean return).

    Raises:
        NotRecorded: there is no population.
    """
    rows = reader.ask(
        """
        SELECT model, metric, value FROM v_model_metric
        WHERE study = :study AND model LIKE 'population/%' AND metric IN ('return', 'live') ORDER BY model, metric
        """
    )
    if rows.empty:
        raise NotRecorded("a population of agents (stage population)")
    rows["value"] = pd.to_numeric(rows["value"])
    table = rows.pivot(index="model", columns="metric", values="value").reindex(columns=["live", "return"]).dropna()
    return table.rename(columns={"return": "score"}).reset_index()


def fit(live: Floats, score: Floats, seed: int = 0) -> Fit | None:
    """Quadratic least squares; None for too few agents, or agents of fewer than three counts."""
    if len(live) < FEWEST or len(np.unique(live)) < 3:
        return None
    mean, sd = float(live.mean()), float(live.std(ddof=1))
    x, grid = (live - mean) / sd, np.linspace(live.min(), live.max(), 60)
    coefficients = np.polyfit(x, score, 2)
    residual = float(((score - np.polyval(coefficients, x)) ** 2).sum())
    total = float(((score - score.mean()) ** 2).sum())
    r_squared = 1 - residual / total if total else float("nan")
    f = (r_squared / 2) / ((1 - r_squared) / (len(x) - 3))
    rng = np.random.default_rng(seed)
    drawn: list[Floats] = []
    while len(drawn) < RESAMPLES:
        index = rng.integers(len(x), size=len(x))
        if len(np.unique(x[index])) >= 3:
            drawn.append(np.polyfit(x[index], score[index], 2))
    curves = np.array([np.polyval(each, (grid - mean) / sd) for each in drawn])
    low, high = np.quantile([each[0] for each in drawn], [0.025, 0.975])
    band = np.quantile(curves, [0.025, 0.975], axis=0)
    curvature = Interval(float(coefficients[0]), float(low), float(high))
    p = float(stats.f.sf(f, 2, len(x) - 3))
    return Fit(coefficients, curvature, r_squared, float(f), p, grid, band[0], band[1], mean, sd)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Left: ours with the fitted curve. Right: the author's known agents."""
    agents = read_population(reader)
    live, score = agents["live"].to_numpy(float), agents["score"].to_numpy(float)
    found = fit(live, score)
    figure, axes = canvas(1, 2, height=3.9)
    left, right = axes[0]
    if found is not None:
        tested = f"R² = {number(found.r_squared)}, F = {number(found.f)}, p = {found.p:.2g}"
        left.fill_between(found.grid, found.low, found.high, color=BLUE, alpha=0.16, linewidth=0)
        left.plot(found.grid, found.at(found.grid), color=BLUE, label=f"quadratic fit [95 %]\n{tested}")
        left.legend(loc="upper right")
    left.plot(live, score, "o", color=BLUE, markersize=5.5, markeredgecolor="white", markeredgewidth=0.6)
    spread = max(float(np.ptp(score)), 1.0)
    left.set(title=f"Rook endgame: {len(agents)} agents", xlabel="live latents", ylabel="points a game")
    left.set_ylim(score.min() - 0.15 * spread, score.max() + 0.3 * spread)
    _authors(right)
    curvature = (
        f"The curvature of the fit is {found.curvature.text(1)} points per squared standard deviation of live latents; "
        f"it turns at {number(found.vertex, 0)} of them, {'within' if found.turns_within else 'outside'} what the "
        f"agents have. The return falls or rises with them at r = {number(float(np.corrcoef(live, score)[0, 1]))}."
        if found is not None
        else f"A curve is fitted to {FEWEST} agents or more."
    )
    return Drawing(
        figure,
        sees=(
            f"{len(agents)} agents of other seeds earn {number(score.min(), 1)} to {number(score.max(), 1)} points a "
            f"game; their autoencoders have {int(live.min())} to {int(live.max())} live latents. {curvature}"
        ),
        beside=(
            "The interval is a bootstrap over agents. As with the author, latents are live that fire in the agent's "
            "own games, so an agent that comes to fewer boards can have fewer for that alone. The author's eleven "
            "known agents are extremes, no sample to fit a curve to."
        ),
        n=f"{len(agents)} agents, each with one autoencoder",
    )


def _authors(ax: Axes) -> None:
    known, fitted = authors.pacman(), authors.pacman_fit()
    mean, sd = fitted["score_mean"], fitted["score_sd"]
    text: Any = {"textcoords": "offset points", "fontsize": 8}
    ax.axhspan(mean - sd, mean + sd, color="#F3F4F6", zorder=0)
    ax.axhline(mean, color=GREY, linestyle=":", linewidth=1)
    label = f"mean ± SD of {fitted['agents']:.0f}"
    ax.annotate(label, (0.02, mean), (0, 3), xycoords=("axes fraction", "data"), color=GREY, **text)
    ax.axvline(fitted["vertex"], color=PUBLISHED, linestyle="--", linewidth=1.2)
    there = (fitted["vertex"], 0.0)
    ax.annotate("the fit turns here", there, (4, 4), xycoords=("data", "axes fraction"), color=PUBLISHED, **text)
    places = [row["live"] for row in known], [row["score"] for row in known]
    tested = f"R² = {number(fitted['r_squared'])}, F = {number(fitted['f'])}, p = {fitted['p']:.2g}"
    ax.plot(*places, "s", color=PUBLISHED, markerfacecolor="white", markersize=5.5, label=f"fit over all 24:\n{tested}")
    ax.legend(loc="upper right", handlelength=0, handletextpad=0, markerscale=0)
    ax.set(title="Ms. Pac-Man: the author's best 8 and worst 3", ylabel="score")
    ax.set(xlabel=f"live latents of {int(fitted['latents']):,}")
    ax.set_ylim(None, 2900)
