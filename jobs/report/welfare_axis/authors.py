"""The paper's numbers: dose curves, geometry, norms, emotions and tracking; jobs/published/welfare_axis/SOURCE.md.

Whose numbers stand beside a training's is decided by what it was trained with; a training that the paper has no
counterpart of has none. All are of Qwen3-4B-Instruct-2507.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from jobs.published import curve as published_curve
from jobs.report.welfare_axis.trainings import Training

LAYERS = 36
"""Of Qwen3-4B; what enters layer l is our block l."""
NAMES = {
    "mmlu": "MMLU",
    "simpleqa": "SimpleQA",
    "sentiment": "sentiment",
    "backtracking": "backtracking",
    "refusal": "refusal",
}
"""Its evaluations in words."""
COUNTERPARTS = {
    ("dr_grpo", "standard"): "4B-Instruct",
    ("dr_grpo", "swap"): "swap",
    ("sft", "standard"): "SFT",
    ("reinforce", "standard"): "REINFORCE",
}
"""By algorithm and tiles, what the tables call it."""


@dataclass(frozen=True)
class Geometry:
    """Cosine of Mold and Gold over layers."""

    mean: float
    least: float
    layer: float
    """Of the least."""


@dataclass(frozen=True)
class Norm:
    """Of a vector at its chosen layer."""

    norm: float
    layer: float


@dataclass(frozen=True)
class Scatter:
    """Cosines of emotion words with Mold and with Gold."""

    r: float
    slope: float


@cache
def _table(name: str) -> pd.DataFrame:
    return published_curve("welfare_axis", name).set_index("variant")


def _number(table: str, name: str | None, column: str) -> float:
    """The one number of a row."""
    return float(_table(table).loc[[name], column].to_numpy(float).item())


def counterpart(training: Training) -> str | None:
    """What the tables call its counterpart; None where there is none."""
    return None if training.shuffled else COUNTERPARTS.get((training.algorithm, training.variant))


def curve(training: Training, concept: str, source: str, evaluation: str) -> pd.Series[float] | None:
    """Values by alpha, naive model steered; None where there are none.

    Args:
        training: ours.
        concept: gold or mold.
        source: trained, or untrained (its control).
        evaluation: a key of `NAMES`.
    """
    table, name = _table(f"dose_{evaluation}"), f"{counterpart(training)}/{source}"
    if name not in table.index:
        return None
    return table.loc[[name]].set_index("alpha")[concept].astype(float).dropna()


def trained_reader(training: Training, concept: str) -> pd.Series[float] | None:
    """Sentiment by alpha of the model after the maze, steered; None but for the primary run."""
    if counterpart(training) != COUNTERPARTS["dr_grpo", "standard"]:
        return None
    return _table("dose_subsets").loc[["sentiment/maze-trained"]].set_index("alpha")[concept].astype(float)


def incoherent(training: Training, concept: str, evaluation: str) -> pd.Series[float] | None:
    """Share of incoherent replies by alpha, where it is given."""
    table, name = _table(f"dose_{evaluation}"), f"{counterpart(training)}/trained"
    column = f"{concept}_incoherent"
    if column not in table.columns or name not in table.index:
        return None
    return table.loc[[name]].set_index("alpha")[column].astype(float).dropna()


def slope_of(found: pd.Series[float] | None) -> float | None:
    """Least-squares slope of a curve over alpha; None without one."""
    if found is None or len(found) < 3:
        return None
    return float(np.polyfit(found.index.to_numpy(float), found.to_numpy(float), 1)[0])


def slope(training: Training, concept: str, source: str, evaluation: str) -> float | None:
    """That of a vector in an evaluation."""
    return slope_of(curve(training, concept, source, evaluation))


def contrast(training: Training, source: str, evaluation: str) -> float | None:
    """Gold's slope less Mold's."""
    gold, mold = (slope(training, concept, source, evaluation) for concept in ("gold", "mold"))
    return None if gold is None or mold is None else gold - mold


def geometry(training: Training) -> Geometry | None:
    """Cosine of the two vectors."""
    table, name = _table("geometry"), counterpart(training)
    if name not in table.index:
        return None
    return Geometry(*(_number("geometry", name, column) for column in ("cosine_mean", "cosine_min", "min_block")))


def norm(training: Training, concept: str) -> Norm | None:
    """A vector's length at the chosen layer."""
    table, name = _table("vectors"), f"{counterpart(training)}/{concept}/trained"
    return Norm(*(_number("vectors", name, column) for column in ("norm", "block"))) if name in table.index else None


def emotions(training: Training) -> Scatter | None:
    """How cosines of emotion words with Mold and with Gold go together."""
    table, name = _table("emotion_scatter"), counterpart(training)
    if name not in table.index:
        return None
    return Scatter(*(_number("emotion_scatter", name, column) for column in ("r", "slope")))


def top_emotions(concept: str) -> list[str]:
    """The words nearest to the primary run's vector, the nearest first."""
    table = _table("emotions")
    mine = table[table.index.str.startswith(f"{concept}/") & (table["cosine"] > 0).to_numpy()]
    return [str(name).partition("/")[2] for name in mine.sort_values("cosine", ascending=False).index]


def projections(training: Training | None) -> dict[str, float] | None:
    """Mold and Gold on the first principal component; without a training, those of the primary run's naive model."""
    kind = "4B-Instruct/untrained" if training is None else f"{counterpart(training)}/trained"
    table = _table("emotion_pc1")
    if kind not in table.index:
        return None
    return {concept: _number("emotion_pc1", kind, concept) for concept in ("gold", "mold")}


def tracking(training: Training, concept: str, *, trained: bool) -> float | None:
    """Cohen's d of maze finals, the model after or before the maze."""
    table, name = _table("tracking"), f"maze finals/{counterpart(training)}/{concept}"
    return _number("tracking", name, "trained" if trained else "naive") if name in table.index else None


def correctness(concept: str, *, trained: bool) -> dict[str, float]:
    """Cohen's d of what Qwen3-4B-Base holds after it was told that its answer was right, or wrong, by questions.

    The concept's own kind against the other: for Gold right less wrong, for Mold wrong less right. No other model's is
    given.
    """
    table, ending = _table("tracking"), f"/Base/{concept}"
    names = [str(name) for name in table.index if str(name).endswith(ending) and not str(name).startswith("maze")]
    return {name.removesuffix(ending): _number("tracking", name, "trained" if trained else "naive") for name in names}
