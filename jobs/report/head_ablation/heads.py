"""Heads: what their ablation does, what they are known for, and in which order searches try them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from jobs.report.head_ablation.searches import Way, by_way
from jobs.report.reader import NotRecorded, Reader, StudyFacts

TOP = 10
"""Heads at most that a ranking is judged by."""
PUBLISHED = "published "
"""What the labels of heads begin with that a publication names."""
NO_PART_IN = {
    "induction": ("duplicate_token",),
    "greater_than": ("induction", "previous_token", "duplicate_token"),
}
"""What heads do in any text but, as far as is published, not for these tasks."""


def own_ablation(facts: StudyFacts) -> str:
    """The ablation that scores are made of in this study."""
    return str(facts.config["task"].get("settings", {}).get("ablation", "value_bias"))


def read_scores(reader: Reader, facts: StudyFacts, ablation: str | None = None) -> pd.DataFrame:
    """A row a task and head: task, layer, head, name, score, low, high (of all episodes), task_damage,
    control_damage, attribution, episodes. Means over evaluation episodes.

    Raises:
        NotRecorded: no head was ablated so.
    """
    kind = ablation or own_ablation(facts)
    rows = reader.ask(
        """
        SELECT task, layer, head, name, AVG(score) AS score, MIN(score) AS low, MAX(score) AS high,
            AVG(task_damage) AS task_damage, AVG(control_damage) AS control_damage,
            AVG(attribution) AS attribution, COUNT(*) AS episodes
        FROM v_head_score
        WHERE study = :study AND model = :model AND ablation = :kind AND split = 'evaluation'
        GROUP BY task, layer, head, name ORDER BY task, layer, head
        """,
        model=facts.model,
        kind=kind,
    )
    if rows.empty:
        raise NotRecorded(f"scores of all heads by the ablation {kind} (stage ablate)")
    numbers = ["score", "low", "high", "task_damage", "control_damage", "attribution"]
    rows[numbers] = rows[numbers].apply(pd.to_numeric)
    return rows


def tasks_in(scores: pd.DataFrame, facts: StudyFacts) -> list[str]:
    """The study's variants of which there are scores, in its order."""
    there = set(scores["task"])
    return [str(task) for task in facts.config["task"]["variants"] if task in there]


def grid(scores: pd.DataFrame, column: str = "score") -> pd.DataFrame:
    """Heads of one task as layers by heads."""
    return scores.pivot(index="layer", columns="head", values=column)


def read_labels(reader: Reader, facts: StudyFacts) -> pd.DataFrame:
    """What heads are known for: task (empty: any), label, name, layer, head, source.

    Raises:
        NotRecorded: of no head anything is known.
    """
    rows = reader.ask(
        """
        SELECT task, label, name, layer, head, source FROM v_head_label
        WHERE study = :study AND model = :model ORDER BY task, label, layer, head
        """,
        model=facts.model,
    )
    if rows.empty:
        raise NotRecorded("heads that are known for something (stage heads)")
    return rows


def known_for(labels: pd.DataFrame, task: str) -> dict[str, list[str]]:
    """The parts that heads play in a task, and which do.

    Those that a publication names where there are any; else by attention pattern, of the task's own parts and of those
    of any task but `NO_PART_IN` it.
    """
    own, general = labels["task"] == task, labels["task"] == ""
    published = own & labels["label"].str.startswith(PUBLISHED)
    mine = labels[own | (general & ~labels["label"].isin(NO_PART_IN.get(task, ())))]
    if published.any():
        mine = labels[published].assign(label=labels["label"].str.removeprefix(PUBLISHED))
    return {str(label): sorted(set(rows["name"])) for label, rows in mine.groupby("label", sort=True)}


def read_picks(reader: Reader, facts: StudyFacts, task: str) -> dict[Way, pd.Series[float]]:
    """Mean pick at which each way tried each head, from 1 on, over episodes and seeds, by the head's name.

    Where a head was not tried the pick after the last is counted, so that heads that are never tried come last and are
    level; of these the record's order decides. Ways that try one head a step.

    Raises:
        NotRecorded: there was no search.
    """
    rows = reader.ask(
        """
        SELECT method, trained_best_of, task_code, best_of, head, COUNT(*) AS tried, AVG(step + 1.0) AS pick,
            MAX(step) AS last
        FROM v_search_step WHERE study = :study AND model = :model AND task = :task AND best_of = 1
        GROUP BY method, trained_best_of, task_code, best_of, head
        ORDER BY method, trained_best_of, task_code, best_of, head
        """,
        model=facts.model,
        task=task,
    )
    if rows.empty:
        raise NotRecorded(f"searches in episodes of {task} (stage search)")
    rows[["tried", "pick", "last"]] = rows[["tried", "pick", "last"]].apply(pd.to_numeric)
    picks = {}
    for way, mine in by_way(rows):
        steps = int(mine["last"].max()) + 1
        rollouts = mine["tried"].sum() / steps  # each tries another head at each of its steps
        mean = (mine["tried"] * mine["pick"] + (rollouts - mine["tried"]) * (steps + 1)) / rollouts
        picks[way] = pd.Series(mean.to_numpy(float), mine["head"].astype(str)).sort_values(kind="stable")
    return picks


def read_peaks(reader: Reader, facts: StudyFacts, task: str) -> dict[Way, pd.DataFrame]:
    """How often each head was the best that a way found, the most frequent first.

    Columns: best_head, episodes, hits (in how many of these it is the oracle's head, too).
    """
    rows = reader.ask(
        """
        SELECT method, trained_best_of, task_code, best_of, best_head, COUNT(*) AS episodes,
            SUM(CASE WHEN best_head = oracle_head THEN 1 ELSE 0 END) AS hits
        FROM v_search_episode WHERE study = :study AND model = :model AND task = :task
        GROUP BY method, trained_best_of, task_code, best_of, best_head
        ORDER BY method, trained_best_of, task_code, best_of, episodes DESC, best_head
        """,
        model=facts.model,
        task=task,
    )
    return dict(by_way(rows))


def read_oracles(reader: Reader, facts: StudyFacts) -> dict[str, dict[str, int]]:
    """By task, in how many evaluation episodes each head is the best there is.

    Raises:
        NotRecorded: there was no search.
    """
    rows = reader.ask(
        """
        SELECT task, oracle_head, COUNT(DISTINCT episode) AS episodes FROM v_search_episode
        WHERE study = :study AND model = :model GROUP BY task, oracle_head ORDER BY task, episodes DESC, oracle_head
        """,
        model=facts.model,
    )
    if rows.empty:
        raise NotRecorded("searches (stage search)")
    return {
        str(task): {str(head): int(n) for head, n in zip(one["oracle_head"], one["episodes"], strict=True)}
        for task, one in rows.groupby("task")
    }


@dataclass(frozen=True)
class Overlap:
    """How many of the first heads of a ranking are known for something, against chance."""

    hits: tuple[str, ...]
    k: int
    known: int
    heads: int

    @property
    def expected(self) -> float:
        """Of as many heads drawn by chance."""
        return self.k * self.known / self.heads

    @property
    def p(self) -> float:
        """Of so many or more by chance: hypergeometric."""
        return float(stats.hypergeom.sf(len(self.hits) - 1, self.heads, self.known, self.k))

    @property
    def text(self) -> str:
        """For a table's cell."""
        return f"{len(self.hits)} of {self.k} (chance {self.expected:.1f}, p = {self.p:.2g})"


def overlap(ranking: list[str], known: set[str], heads: int) -> Overlap:
    """Of the first of a ranking, as many as are known, and at most `TOP`."""
    k = min(TOP, len(known), len(ranking))
    return Overlap(tuple(name for name in ranking[:k] if name in known), k, len(known), heads)


def ranking(values: pd.DataFrame, column: str = "score") -> list[str]:
    """Names of one task's heads, the highest first."""
    ordered = values.sort_values(column, ascending=False, kind="stable")
    return [str(name) for name in ordered["name"]]


def spearman(first: pd.Series[float], second: pd.Series[float]) -> float:
    """Rank correlation over the heads that have both."""
    both = pd.concat([first, second], axis=1).dropna()
    if len(both) < 3 or (both.nunique() < 2).any():
        return float("nan")
    return float(stats.spearmanr(both.iloc[:, 0], both.iloc[:, 1]).statistic)


def pearson(first: pd.Series[float], second: pd.Series[float]) -> float:
    """Correlation over the heads that have both."""
    both = pd.concat([first, second], axis=1).dropna()
    if len(both) < 3 or (both.nunique() < 2).any():
        return float("nan")
    return float(np.corrcoef(both.iloc[:, 0], both.iloc[:, 1])[0, 1])
