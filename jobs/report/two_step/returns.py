"""Returns per episode, with and without interventions."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from envs.two_step import TwoStepConfig, draw_phases
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval, mean_interval
from tdlens.figures import GREY, level

NO_LESION = "none"


def yardsticks(config: TwoStepConfig) -> pd.DataFrame:
    """Mean return of uniformly random choices and of the best ones: a row an episode, columns chance and optimum."""
    # a seed decides where the points lie, never which there are
    before, after = draw_phases(config.variant, np.random.default_rng(0))
    layouts = [before if episode < config.change_episode else after for episode in range(config.episodes)]
    return pd.DataFrame(
        {
            "chance": [float(np.mean(layout.points)) for layout in layouts],
            "optimum": [float(layout.best_return()) for layout in layouts],
        }
    )


def yardsticks_of(facts: StudyFacts) -> pd.DataFrame:
    """The same for the task as the model played it.

    Raises:
        NotRecorded: it has not played yet.
    """
    return yardsticks(TwoStepConfig(**facts.played))


def draw_level(ax: Axes, values: pd.Series[float], label: str) -> None:
    """A dotted line with its name on it, with a step where the task changes."""
    level(ax, float(values.iloc[-1]), label, linestyle="none")  # its name
    edges = np.append(values.index - 0.5, values.index[-1] + 0.5)
    ax.stairs(values, edges, baseline=None, color=GREY, linewidth=0.9, linestyle=":", zorder=1)


def read_returns(reader: Reader, facts: StudyFacts) -> pd.DataFrame:
    """Every episode of the model on the study's first variant: intervention, rollout_index, episode, forced, return.

    Raises:
        NotRecorded: the model has played none.
    """
    rows = reader.ask(
        """
        SELECT intervention, rollout_index, episode, forced, "return"
        FROM v_episode
        WHERE study = :study AND variant = :variant AND model = :model AND policy = 'model'
        ORDER BY intervention, rollout_index, episode
        """,
        variant=facts.variant,
        model=facts.model,
    )
    if rows.empty:
        raise NotRecorded("play of the model")
    return rows


def per_episode(returns: pd.DataFrame, intervention: str = NO_LESION) -> pd.DataFrame:
    """Mean over rollouts and its standard error for each episode."""
    chosen = returns[returns["intervention"] == intervention]
    episodes = chosen.groupby("episode")["return"]
    return pd.DataFrame({"mean": episodes.mean(), "sem": episodes.sem()})


def own_returns(returns: pd.DataFrame, intervention: str = NO_LESION) -> pd.Series[float]:
    """Each rollout's mean return over the episodes that the model chose itself, by rollout index."""
    chosen = returns[(returns["intervention"] == intervention) & ~returns["forced"].astype(bool)]
    return chosen.groupby("rollout_index")["return"].mean()


def own_return(returns: pd.DataFrame, intervention: str = NO_LESION) -> Interval | None:
    """Mean over rollouts of their own return."""
    return mean_interval(own_returns(returns, intervention).tolist())


def over_own(values: pd.Series[float], returns: pd.DataFrame) -> float:
    """Mean of a value per episode over the episodes that the model chose itself."""
    own = returns.loc[~returns["forced"].astype(bool), "episode"].unique()
    return float(values.loc[own].mean())


def paired_difference(returns: pd.DataFrame, first: str, second: str) -> Interval | None:
    """Mean return under one intervention minus that under another, paired by seed."""
    difference = own_returns(returns, first) - own_returns(returns, second)
    return mean_interval(difference.tolist())


def forced_episodes(returns: pd.DataFrame) -> int:
    """How many episodes at the beginning were random."""
    forced = returns.loc[returns["forced"].astype(bool), "episode"]
    return int(forced.max()) + 1 if len(forced) else 0
