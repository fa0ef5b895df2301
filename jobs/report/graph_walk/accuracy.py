"""Whether the model's most probable node is the one that came, decision by decision."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from envs.graph_walk import ADJACENCY, N_NODES
from jobs.report.prediction import NO_LESION
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval, mean_interval

CHANCE = 1 / N_NODES
CEILING = 1 / int(ADJACENCY.sum(1).max())
"""What a model gets that knows the graph: each of four neighbours is as likely."""

EARLY = 0.25
"""Share of a walk: the paper nears its ceiling after 100 of 400 decisions."""


def read_accuracy(reader: Reader, facts: StudyFacts, intervention: str = NO_LESION) -> pd.DataFrame:
    """1 where the most probable node came, else 0: every decision of every walk, [rollout, decision].

    Raises:
        NotRecorded: the model has read no walk, or none under this intervention.
    """
    rows = reader.ask(
        """
        SELECT rollout_index, step, action, action_probabilities FROM v_step
        WHERE study = :study AND model = :model AND variant = :variant AND intervention = :intervention
          AND action_probabilities IS NOT NULL
        ORDER BY rollout_index, step
        """,
        model=facts.model,
        variant=facts.variant,
        intervention=intervention,
    )
    if rows.empty:
        raise NotRecorded("predictions of the model")
    probabilities = np.array([json.loads(text) for text in rows["action_probabilities"]])
    rows["foretold"] = (probabilities.argmax(axis=1) == rows["action"].to_numpy()).astype(float)
    return rows.pivot_table(index="rollout_index", columns="step", values="foretold")


def overall(table: pd.DataFrame, first: float = 0.0, last: float = 1.0) -> Interval | None:
    """Mean over walks of each one's accuracy between two shares of its decisions."""
    n = table.shape[1]
    part = table.iloc[:, round(first * n) : round(last * n)]
    return mean_interval(part.mean(axis=1).tolist())


def paired_difference(reader: Reader, facts: StudyFacts, one: str, other: str) -> Interval | None:
    """Accuracy under one intervention minus that under another, on the same walks.

    Raises:
        NotRecorded: one of them was not read.
    """
    walks = (read_accuracy(reader, facts, name).mean(axis=1) for name in (one, other))
    return mean_interval(next(walks).sub(next(walks)).tolist())
