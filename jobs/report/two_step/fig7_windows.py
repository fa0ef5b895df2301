"""Fig 7: the TD error averaged over windows of different length."""

from __future__ import annotations

import pandas as pd

from jobs.published import curve
from jobs.report.drawing import Drawing
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from tdlens.figures import BLUE, canvas, published

NAME = "fig7_windows"
TITLE = "Fig 7 · How many transitions are replayed"
OVERLAY = "Fig 7 of the paper; its panel 'n = 10' is a window of 11"

WINDOWS = (
    ("td_error_k1", "n1", "last transition"),
    ("td_error", "n4", "last 4 transitions"),
    ("td_error_k11", "n10_label_actually_k11", "last 11 transitions"),
    ("td_error_full", "full", "whole history"),
)
TOLERANCE = 5e-5


def read_windows(reader: Reader) -> pd.DataFrame:
    """Our TD errors on the run of Fig 7, [decision, signal], as known *before* each decision.

    Raises:
        NotRecorded: the run was not replayed.
    """
    rows = reader.ask(
        """
        SELECT signal, rollout_index, step, value FROM v_learning_signal
        WHERE study = :study AND policy = 'published fig 7' AND variant = 'standard' AND signal IN :signals
          AND rollout_index = 0
        ORDER BY signal, step
        """,
        signals=tuple(signal for signal, _, _ in WINDOWS),
    )
    if rows.empty:
        raise NotRecorded("a replay of the run of Fig 7")
    return rows.pivot_table(index="step", columns="signal", values="value")


def compared(ours: pd.DataFrame, signal: str, column: str) -> pd.DataFrame:
    """Published and ours at the same transition: Fig 7 shows the error of decision t, we know it at t + 1."""
    theirs = curve("td_in_llms", "fig7_windows_TD").set_index("step")[column]
    known = ours[signal].copy()
    known.index = known.index - 1
    return pd.DataFrame({"published": theirs, "ours": known}).dropna()


def largest_error(ours: pd.DataFrame) -> float:
    """Of any point of any window that is recorded."""
    errors = [
        (pair["published"] - pair["ours"]).abs().max()
        for signal, column, _ in WINDOWS
        if signal in ours and len(pair := compared(ours, signal, column))
    ]
    return float(max(errors, default=float("nan")))


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Four windows on the paper's run."""
    ours = read_windows(reader)
    shown = [window for window in WINDOWS if window[0] in ours]
    figure, axes = canvas(1, len(shown), height=2.9, sharey=False)
    for ax, (signal, column, label) in zip(axes[0], shown, strict=True):
        pair = compared(ours, signal, column)
        ax.plot(pair.index, pair["ours"], color=BLUE, linewidth=2.4, alpha=0.8, label="our learner")
        published(ax, pair.index, pair["published"], "published", zorder=3)
        error = (pair["published"] - pair["ours"]).abs().max()
        ax.set(title=label, xlabel=f"decision\n(largest difference {error:.0e})")
        ax.title.set_fontsize(9.5)
    axes[0, 0].set_ylabel("TD error (points)")
    axes[0, -1].legend(loc="upper right")
    return Drawing(
        figure,
        sees=(
            f"The TD error of one standard run for four windows; ours and the published curves differ by at most "
            f"{largest_error(ours):.1e} points."
        ),
        beside=(
            "All transitions of the window are replayed against the same old values and the last write wins; summing "
            "or averaging repeated transitions draws other curves. The longer the window, the more the signal "
            "resembles a slow function of time."
        ),
        n="1 run of 60 decisions",
    )
