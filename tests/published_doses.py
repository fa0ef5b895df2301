"""The published dose curves of steering by concept vectors (Han et al. 2026, arXiv 2605.30232), one row a point."""

from __future__ import annotations

import pandas as pd

from jobs.published import curve

STUDY = "welfare_axis"
EVALUATIONS = ("sentiment", "backtracking", "mmlu", "simpleqa", "refusal")
VECTORS = ("mold", "gold")


def dose_curves() -> pd.DataFrame:
    """All curves of maze-naive models.

    Returns:
        Columns ``model``, ``source`` (trained, untrained), ``evaluation``, ``vector``, ``alpha``, ``value`` (NaN where
        nothing coherent was left), ``flagged`` (hardly anything was left) and ``incoherent`` (share of the replies; NaN
        where it isn't known), in the order of the files.
    """
    parts = []
    for evaluation in EVALUATIONS:
        table = curve(STUDY, f"dose_{evaluation}")
        named = table.variant.str.rsplit("/", n=1, expand=True)
        missing = pd.Series(float("nan"), table.index)
        for vector in VECTORS:
            columns = {
                "model": named[0],
                "source": named[1],
                "evaluation": evaluation,
                "vector": vector,
                "alpha": table.alpha.astype(float),
                "value": table[vector],
                "flagged": table.get(f"{vector}_flagged", missing).fillna(0).astype(bool),
                "incoherent": table.get(f"{vector}_incoherent", missing),
            }
            parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)
