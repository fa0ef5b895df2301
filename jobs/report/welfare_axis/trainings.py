"""The study's trainings in the maze: what they are called, how they went, and how the models play that came of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval, mean_interval
from tdlens.figures import CYCLE

NAIVE = "naive"
"""The model that no maze has trained."""
SHIPPED = "welfare"
"""The model that comes with tdlens."""
ALGORITHMS = {"dr_grpo": "Dr. GRPO", "reinforce": "REINFORCE", "sft": "imitation, SFT"}
Returns = dict[tuple[str, str], "pd.Series[float]"]
"""Of held-out mazes by seed, by (``naive`` or a training's name, what the tiles look like)."""
CHOICES = {"gold_taken": "Gold taken", "mold_avoided": "Mold avoided"}
"""Shares of moves in held-out mazes, as the record calls them and in words."""
Choices = dict[tuple[str, str, str], Interval]
"""By (``naive`` or a training's name, what the tiles look like, one of `CHOICES`)."""
LATE = 0.2
"""Share of a training's steps, the last or the first, over which returns are averaged."""


@dataclass(frozen=True)
class Training:
    """One of the study's trainings."""

    name: str
    algorithm: str
    variant: str
    """What the tiles look like."""
    shuffled: bool
    """Whether rewards are exchanged at random: the control."""
    steps: int
    seed: int
    colour: str

    @property
    def said(self) -> str:
        """For legends: name, algorithm and what is special."""
        special = [self.variant] * (self.variant != "standard") + ["shuffled rewards"] * self.shuffled
        told = ", ".join([ALGORITHMS.get(self.algorithm, self.algorithm), *(f"{one}" for one in special)])
        return f"{self.name} ({told})"

    @property
    def plays(self) -> bool:
        """Whether it learns by playing, so that there is a return at each step."""
        return self.algorithm != "sft"


def trainings(facts: StudyFacts) -> list[Training]:
    """In the study's order; the first is the primary one."""
    return [
        Training(
            name=str(one["name"]),
            algorithm=str(one["algorithm"]),
            variant=str(one["variant"]),
            shuffled=one["shuffled_rewards"] != "no",
            steps=int(one["steps"]),
            seed=int(one["seed"]),
            colour=CYCLE[index % len(CYCLE)],
        )
        for index, one in enumerate(facts.config["training"])
    ]


def primary(facts: StudyFacts) -> Training:
    """The first training, which has the most controls."""
    return trainings(facts)[0]


def model_of(facts: StudyFacts, training: Training | None) -> str:
    """How the record calls the model that a training made; without one, the naive model."""
    return facts.model if training is None else f"{facts.model}:{training.name}"


def read_progress(reader: Reader, facts: StudyFacts) -> dict[str, pd.DataFrame]:
    """By training, a row a step: step, mean_return, golds, molds, entropy; numbers that a step lacks are NaN.

    Raises:
        NotRecorded: nothing was trained.
    """
    rows = reader.ask(
        """
        SELECT training, step, mean_return, golds, molds, entropy FROM v_maze_progress
        WHERE study = :study ORDER BY training, step
        """
    )
    if rows.empty:
        raise NotRecorded("a training in the maze (stage train_in_maze)")
    numbers = ["mean_return", "golds", "molds", "entropy"]
    rows[numbers] = rows[numbers].apply(pd.to_numeric)
    return {
        one.name: rows[rows["training"] == one.name].reset_index(drop=True)
        for one in trainings(facts)
        if (rows["training"] == one.name).any()
    }


def ends(steps: pd.DataFrame) -> tuple[list[float], list[float]]:
    """Mean returns in the first and the last steps of a training, as many of each."""
    returns = steps["mean_return"].dropna()
    n = max(2, round(LATE * len(returns)))
    return returns.head(n).tolist(), returns.tail(n).tolist()


def rise(steps: pd.DataFrame) -> Interval | None:
    """Mean return in a training's last steps less that in its first: Welch's interval, steps as the sample.

    None where there are fewer than four steps of play.
    """
    early, late = (np.asarray(part) for part in ends(steps))
    if len(steps["mean_return"].dropna()) < 4:
        return None
    return welch(late, early)


def welch(first: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> Interval | None:
    """Difference of two means with Welch's 95 % interval; None for fewer than two values of either."""
    from scipy import stats

    if len(first) < 2 or len(other) < 2:
        return None
    difference = float(np.mean(first) - np.mean(other))
    if np.ptp(first) == 0 and np.ptp(other) == 0:
        return Interval(difference, difference, difference)
    bounds = stats.ttest_ind(first, other, equal_var=False).confidence_interval(0.95)
    return Interval(difference, float(bounds.low), float(bounds.high))


def read_returns(reader: Reader, facts: StudyFacts) -> Returns:
    """What all models earn in held-out mazes.

    Raises:
        NotRecorded: no model played.
    """
    rows = reader.ask(
        """
        SELECT model, variant, seed, "return" AS points FROM v_episode
        WHERE study = :study AND task = 'maze' ORDER BY model, variant, seed, rollout_index
        """
    )
    if rows.empty:
        raise NotRecorded("play in held-out mazes (stage play_maze)")
    rows["points"] = rows["points"].astype(float)
    names = _names(facts)
    return {
        (names[str(model)], str(variant)): mine.groupby("seed")["points"].mean()
        for (model, variant), mine in rows.groupby(["model", "variant"], sort=True)
        if str(model) in names
    }


def read_choices(reader: Reader, facts: StudyFacts) -> Choices:
    """How often models take Gold and avoid Mold in held-out mazes, where they have the choice; empty if none played."""
    names, variants = _names(facts), dict.fromkeys(one.variant for one in trainings(facts))
    metrics = {f"{choice}, {variant}": (variant, choice) for variant in variants for choice in CHOICES}
    rows = reader.rows(
        """
        SELECT model, metric, value, ci_low, ci_high FROM v_model_metric
        WHERE study = :study AND metric IN :metrics ORDER BY model, metric
        """,
        metrics=list(metrics),
    )
    return {
        (names[str(row["model"])], *metrics[str(row["metric"])]): Interval(
            *(math.nan if row[name] is None else float(row[name]) for name in ("value", "ci_low", "ci_high"))
        )
        for row in rows
        if str(row["model"]) in names
    }


def _names(facts: StudyFacts) -> dict[str, str]:
    """Of all models, as the record calls them: ``naive`` or a training's name."""
    return {model_of(facts, one): one.name for one in trainings(facts)} | {facts.model: NAIVE}


def above_naive(returns: Returns, training: Training) -> Interval | None:
    """What a training adds to the return in the same held-out mazes; None where either didn't play."""
    mine, naive = (returns.get((name, training.variant)) for name in (training.name, NAIVE))
    if mine is None or naive is None:
        return None
    return mean_interval((mine - naive).dropna().tolist())
