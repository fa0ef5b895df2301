"""Returns per episode, with and without interventions."""

from __future__ import annotations

import pandas as pd

from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval, mean_interval

CHANCE, OPTIMUM = 4.0, 8.0
"""Mean return of uniformly random choices and best return in the standard variant (rewards 1, 8 | 2, 5)."""

NO_LESION = "none"


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


def paired_difference(returns: pd.DataFrame, first: str, second: str) -> Interval | None:
    """Mean return under one intervention minus that under another, paired by seed."""
    difference = own_returns(returns, first) - own_returns(returns, second)
    return mean_interval(difference.tolist())


def forced_episodes(returns: pd.DataFrame) -> int:
    """How many episodes at the beginning were random."""
    forced = returns.loc[returns["forced"].astype(bool), "episode"]
    return int(forced.max()) + 1 if len(forced) else 0
