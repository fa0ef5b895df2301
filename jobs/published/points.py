"""The published curves as rows: a figure, a series, and a point of it with its band."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from jobs.published import curve, curve_names
from jobs.published.runs import example_runs

RUNS = "fig3_runs"
"""The one file that holds runs; its numbers become a series for each run and quantity."""
VARIANT = "variant"
"""The column that names what a row is of where the same x is there more than once; empty for the plain one."""


class Point(NamedTuple):
    """One point that a paper draws."""

    figure: str
    """Name of the curve's file, as in the study's ``SOURCE.md``."""
    series: str
    """Its column there, and the row's variant, as in ``agreement/resampled``."""
    x: float
    y: float
    low: float | None
    high: float | None
    """The band drawn around it: one standard error to either side."""


def points(study: str) -> Iterator[Point]:
    """Every point of every curve of a study; what a figure leaves out is left out."""
    for figure in curve_names(study):
        yield from _of_runs() if figure == RUNS else _of_curve(figure, curve(study, figure))


def _of_curve(figure: str, table: pd.DataFrame) -> Iterator[Point]:
    """A column after that of x is a series; with a column of variants before it, a series for each variant."""
    variants = table.pop(VARIANT).fillna("") if VARIANT in table else pd.Series("", table.index)
    x = table.columns[0]
    for column in table.columns[1:]:
        if column.endswith("_sem"):
            continue
        measured = column.removesuffix("_return")
        series = measured if f"{measured}_sem" in table else column
        errors = table.get(f"{series}_sem", pd.Series(np.nan, table.index))
        for variant, place, y, error in zip(variants, table[x], table[column], errors, strict=True):
            if np.isfinite(y):
                band = (y - error, y + error) if np.isfinite(error) else (None, None)
                yield Point(figure, f"{series}/{variant}" if variant else series, float(place), float(y), *band)


def _of_runs() -> Iterator[Point]:
    for run in example_runs():
        for name, values in {"td_error": run.td_error, "latent": run.latent}.items():
            for step, y in enumerate(values.tolist()):
                yield Point(RUNS, f"{name}/{run.variant}/{run.run}", float(step), y, None, None)
